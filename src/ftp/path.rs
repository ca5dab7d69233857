//! ftp::path – a path that cannot leave the root.

/// An absolute path of the tree as the client sees it: begins with `/`, no empty, `.` or `..` component,
/// no NUL. `/` is the root itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualPath(Vec<u8>);

impl VirtualPath {
    /// The root.
    pub fn root() -> Self {
        Self(b"/".to_vec())
    }

    /// The path as the client sees it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The path below the root without the leading `/`; empty for the root.
    pub fn relative(&self) -> &[u8] {
        &self.0[1..]
    }

    /// Resolves `argument` against `self`, lexically. `None` for a NUL or an over-long name.
    pub fn join(&self, _argument: &[u8]) -> Option<Self> {
        todo!()
    }

    /// Directory and last component; `None` for the root.
    pub fn split(&self) -> Option<(Self, &[u8])> {
        todo!()
    }
}

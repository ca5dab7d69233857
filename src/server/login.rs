//! server::login – who may come in.
//!
//! Anonymous users, and what the others find; whether a password is right is asked in `credentials`.

use std::net::IpAddr;
use std::rc::Rc;

use super::credentials::{self, Attempt, Refused};
use super::shared::{Context, View};
use super::transfer::Who;
use crate::config::Anonymous;
use crate::ftp::step::{Account, Fault, Secret};
use crate::store::accounts::{Access, User};
use crate::store::files::{Policy, Tree, Writes};
use crate::wire;

/// Names of the anonymous user.
const ANONYMOUS: [&[u8]; 2] = [b"anonymous", b"ftp"];
/// Octets of a mail address given as a password that are kept for the transfer log.
const MAIL_BYTES_MAX: usize = 64;
/// Account number of the anonymous user.
const ANONYMOUS_ID: u32 = 0;

/// One try.
pub(super) struct Login {
    pub(super) user: Vec<u8>,
    pub(super) password: Secret,
    pub(super) peer: IpAddr,
    /// Failures of this session so far.
    pub(super) failures: u32,
}

/// What a login opens.
pub(super) struct Entry {
    pub(super) account: Account,
    pub(super) tree: Rc<Tree>,
    pub(super) view: Rc<View>,
    pub(super) who: Rc<Who>,
}

pub(super) async fn login(context: Rc<Context>, login: Login) -> Result<Entry, Fault> {
    let view = context.view();
    if ANONYMOUS.iter().any(|name| name.eq_ignore_ascii_case(&login.user))
        && let Some(tree) = view.anonymous.clone()
    {
        let account = Account {
            name: b"anonymous".to_vec(),
            anonymous: true,
            writes: view.ftp.anonymous == Anonymous::Upload,
            fxp: false,
            id: ANONYMOUS_ID,
        };
        let mut name = login.password.0.clone();
        name.truncate(MAIL_BYTES_MAX);
        let who = Rc::new(Who { anonymous: true, name });
        return Ok(Entry { account, tree, view, who });
    }
    let Login { user, mut password, peer, failures } = login;
    let attempt = Attempt { name: &user, peer, failures, how: "ftp" };
    let password = wire::secret::Secret::new(std::mem::take(&mut password.0));
    let may = |user: &User| user.ftp != Access::None;
    let user =
        credentials::check(&context, attempt, password, may).await.map_err(
            |refused| match refused {
                Refused::Denied => Fault::Denied,
                Refused::Busy => Fault::Busy,
                Refused::Broken => Fault::Local,
            },
        )?;
    let tree = tree_of(&context, &view, &user).await?;
    let account = Account {
        name: user.name.into_bytes(),
        anonymous: false,
        writes: user.ftp == Access::Write,
        fxp: view.ftp.fxp,
        id: u32::try_from(tree.key()).unwrap_or(u32::MAX),
    };
    let who = Rc::new(Who { anonymous: false, name: account.name.clone() });
    Ok(Entry { account, tree, view, who })
}

/// The account's tree, opened once per shard and configuration.
async fn tree_of(context: &Context, view: &View, user: &User) -> Result<Rc<Tree>, Fault> {
    let known = view.trees.borrow().get(user.name.as_bytes()).cloned();
    if let Some(tree) = known {
        return Ok(tree);
    }
    let root = match &user.ftp_root {
        None => context.root().clone(),
        Some(path) => context.root().below(path.as_bytes()).await.map_err(|error| {
            tracing::warn!(user = user.name, %error, "the root of an account cannot be opened");
            super::fault::of_file(&error)
        })?,
    };
    let writes = if user.ftp == Access::Write { Writes::Everywhere } else { Writes::Nowhere };
    let policy = Policy { writes, unreadable: Vec::new(), start: context.shared.start };
    let tree = Rc::new(Tree::new(root, policy, context.next_key()));
    view.trees.borrow_mut().insert(user.name.clone().into_bytes(), Rc::clone(&tree));
    Ok(tree)
}

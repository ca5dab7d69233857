//! compare::room – everything on the machine that is changed for a comparison, and undone after it.
//!
//! - congestion control (`net.ipv4.tcp_congestion_control`), `cubic` for the whole run;
//! - a work folder with a loop-mounted, journalled ext4 image, in a mount namespace of our own;
//! - the user `ftp`, which the peers need for anonymous access, and those of the mail servers, if the
//!   machine has none.
//!
//! Promises: each change is a guard whose drop undoes it, on errors and on Ctrl-C too. What a
//! killed run left behind (`kill -9`) is put right by the next one, which finds it in a state file
//! (congestion control, work folder, users, control groups); mounts die with their namespace.
//! Not here: what the tree holds (`tree`).

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const CONGESTION: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
const STATE: &str = "/run/sluicegate-compare.state";
/// What the names of our folders and control groups begin with; our process id follows.
pub const PREFIX: &str = "sluicegate-compare-";
const IMAGE_BYTES: u64 = 8 << 30;

/// Runs a helper program to its end; its error text if it fails.
pub fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    let output = command.args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(format!("{program} {}: {}", arguments.join(" "), text.trim()))
}

/// Congestion control for the time of the run.
pub struct Congestion {
    former: String,
}

impl Congestion {
    /// Switches to `wanted` and remembers what was, also for a run after us: `parent` is where
    /// our work folder will be.
    pub fn set(wanted: &str, parent: &Path) -> Result<Self, String> {
        let current = fs::read_to_string(CONGESTION).map_err(|e| format!("{CONGESTION}: {e}"))?;
        let former = left_behind()?.unwrap_or_else(|| current.trim().to_owned());
        let state = format!("{} {former} {}\n", std::process::id(), parent.display());
        fs::write(STATE, state).map_err(|error| format!("{STATE}: {error}"))?;
        let guard = Self { former };
        fs::write(CONGESTION, wanted).map_err(|error| format!("{CONGESTION}: {error}"))?;
        Ok(guard)
    }

    /// What was set before the run.
    pub fn former(&self) -> &str {
        &self.former
    }
}

impl Drop for Congestion {
    fn drop(&mut self) {
        match fs::write(CONGESTION, &self.former) {
            Ok(()) => drop(fs::remove_file(STATE)),
            Err(error) => eprintln!("{CONGESTION}: {error}; set it back to {}", self.former),
        }
    }
}

/// Clears up after a run that was killed; the congestion control from before it.
fn left_behind() -> Result<Option<String>, String> {
    let Ok(text) = fs::read_to_string(STATE) else {
        return Ok(None);
    };
    let mut lines = text.lines();
    let mut parts = lines.next().unwrap_or_default().splitn(3, ' ');
    let (Some(pid), Some(former), Some(parent)) = (parts.next(), parts.next(), parts.next()) else {
        return Ok(None);
    };
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    if name.trim() == "loadtest" {
        return Err(format!("another comparison is running (process {pid}); wait for it"));
    }
    eprintln!("clearing up after process {pid}, which was killed");
    let work = Path::new(parent).join(format!("{PREFIX}{pid}"));
    let user = run("getent", &["passwd", "ftp"]).unwrap_or_default();
    if user.split(':').nth(5).is_some_and(|home| Path::new(home).starts_with(&work)) {
        run("userdel", &["ftp"])?;
    }
    for (undo, name) in lines.filter_map(|line| line.split_once(' ')) {
        if let Err(error) = run(undo, &[name]) {
            eprintln!("{error}");
        }
    }
    let _ = fs::remove_dir_all(work);
    for root in super::cpu::ROOTS {
        let groups = fs::read_dir(root).into_iter().flatten().flatten();
        let ours = format!("{PREFIX}{pid}-");
        for group in groups.filter(|g| g.file_name().to_string_lossy().starts_with(&ours)) {
            let _ = fs::remove_dir(group.path());
        }
    }
    Ok(Some(former.to_owned()))
}

/// A folder that is removed with everything in it.
pub struct WorkFolder {
    path: PathBuf,
}

impl WorkFolder {
    /// Makes a folder of our own below `parent`.
    pub fn make(parent: &Path) -> Result<Self, String> {
        let path = parent.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir_all(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for WorkFolder {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            eprintln!("{}: {error}; remove it by hand", self.path.display());
        }
    }
}

/// A mounted file system, unmounted on drop.
pub struct Mount {
    path: PathBuf,
}

impl Mount {
    /// Makes a journalled ext4 in a sparse file in `folder` and mounts it at `folder/tree`.
    pub fn make_ext4(folder: &Path) -> Result<Self, String> {
        let image = folder.join("tree.img");
        let made = fs::File::create(&image).and_then(|file| file.set_len(IMAGE_BYTES));
        made.map_err(|error| format!("{}: {error}", image.display()))?;
        let eager = "lazy_itable_init=0,lazy_journal_init=0"; // no background work while we measure
        let image = text(&image)?;
        run("mkfs.ext4", &["-q", "-F", "-O", "has_journal", "-E", eager, "-N", "200000", image])?;
        let path = folder.join("tree");
        fs::create_dir(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        run("mount", &["-o", "loop,noatime", image, text(&path)?])?;
        Ok(Self { path })
    }

    /// Shows the folder `source` at `target` too.
    pub fn bind(source: &Path, target: &Path) -> Result<Self, String> {
        run("mount", &["--bind", text(source)?, text(target)?])?;
        Ok(Self { path: target.to_owned() })
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let path = self.path.to_string_lossy().into_owned();
        if run("umount", &[&path]).is_err() {
            // Lazily: it goes when its last user goes, at the latest with our namespace.
            if let Err(error) = run("umount", &["-l", &path]) {
                eprintln!("{error}");
            }
        }
    }
}

/// The account that the peers run anonymous sessions as.
pub struct FtpUser {
    made: bool,
    _home: Option<Mount>,
}

impl FtpUser {
    /// Makes the user `ftp` with the home `root`, or shows `root` at the home of the existing one
    /// (Pure-FTPd serves that home and nothing else).
    pub fn make(root: &Path) -> Result<Self, String> {
        let Ok(entry) = run("getent", &["passwd", "ftp"]) else {
            let home = text(root)?;
            let shell = ["--shell", "/usr/sbin/nologin"];
            let home = ["--system", "--home-dir", home, "--no-create-home", "--user-group"];
            run("useradd", &[&home[..], &shell[..], &["ftp"]].concat())?;
            return Ok(Self { made: true, _home: None });
        };
        let home = entry.trim().split(':').nth(5).unwrap_or_default();
        if home.is_empty() || home == "/" || !Path::new(home).is_dir() {
            return Err(format!("the user ftp has the home {home:?}; it must be a folder not /"));
        }
        Ok(Self { made: false, _home: Some(Mount::bind(root, Path::new(home))?) })
    }
}

impl Drop for FtpUser {
    fn drop(&mut self) {
        if self.made
            && let Err(error) = run("userdel", &["ftp"])
        {
            eprintln!("{error}");
        }
    }
}

/// Users and a group that a server insists on; removed again if they were made here.
pub struct Users {
    made: Vec<(&'static str, &'static str)>,
}

impl Users {
    /// Makes what is missing.
    pub fn make(users: &[&'static str], group: Option<&'static str>) -> Result<Self, String> {
        let mut guard = Self { made: Vec::new() };
        for user in users {
            if run("getent", &["passwd", user]).is_err() {
                let plain = ["--system", "--no-create-home", "--home-dir", "/nonexistent"];
                let shell = ["--user-group", "--shell", "/usr/sbin/nologin", user];
                run("useradd", &[&plain[..], &shell[..]].concat())?;
                guard.made("userdel", user);
            }
        }
        if let Some(group) = group
            && run("getent", &["group", group]).is_err()
        {
            run("groupadd", &["--system", group])?;
            guard.made("groupdel", group);
        }
        Ok(guard)
    }

    /// Remembers it, also for the run after one that was killed.
    fn made(&mut self, undo: &'static str, name: &'static str) {
        self.made.push((undo, name));
        let state = fs::OpenOptions::new().append(true).open(STATE);
        if let Err(error) = state.and_then(|mut state| writeln!(state, "{undo} {name}")) {
            eprintln!("{STATE}: {error}");
        }
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        for (program, name) in self.made.drain(..).rev() {
            if let Err(error) = run(program, &[name]) {
                eprintln!("{error}");
            }
        }
    }
}

/// The path as text; the helper programs are given nothing else.
pub fn text(path: &Path) -> Result<&str, String> {
    path.to_str().ok_or_else(|| format!("{}: not UTF-8", path.display()))
}

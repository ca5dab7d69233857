//! server::login – who may come in.
//!
//! Passwords are checked off the shard, few at a time. A wrong one is answered late – one second per
//! failure of the session – by a sleep of that session's task only; an address that failed often is
//! refused without looking (its greeting never is).
//! Promises: an unknown name takes as long as a wrong password (the accounts see to that), and is answered alike.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use super::shared::{Context, View};
use super::transfer::Who;
use crate::config::Anonymous;
use crate::ftp::step::{Account, Fault, Secret};
use crate::log::Printable;
use crate::shard;
use crate::store::accounts::{Access, User, Verdict};
use crate::store::files::{Policy, Tree, Writes};

/// Names of the anonymous user.
const ANONYMOUS: [&[u8]; 2] = [b"anonymous", b"ftp"];
/// Delay of the answer to a wrong password, per failure.
const DELAY: Duration = Duration::from_secs(1);
/// Failures that still lengthen the delay.
const DELAYS_MAX: u32 = 5;
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
    let (peer, failures) = (login.peer, login.failures);
    if context.shared.failures.barred(peer, clock()) {
        tracing::debug!(%peer, "login refused unheard after many failures");
        wait(failures).await;
        return Err(Fault::Denied);
    }
    let Some(user) = check(&context, login).await? else {
        context.shared.failures.note(peer, clock());
        wait(failures).await;
        return Err(Fault::Denied);
    };
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

/// Asks the accounts, off the shard. `None`: not with this password.
async fn check(context: &Context, login: Login) -> Result<Option<User>, Fault> {
    let _pass = context.logins.pass().await.ok_or(Fault::Busy)?;
    let accounts = context.shared.accounts.load_full();
    let Login { user, password, peer, .. } = login;
    let checked = shard::blocking(move || {
        let verdict = accounts.verify(&user, &password.0);
        let known = accounts.find(&user).filter(|user| user.ftp != Access::None).cloned();
        (known.filter(|_| verdict == Verdict::Accepted), user)
    })
    .await;
    match checked {
        Ok((Some(user), _)) => Ok(Some(user)),
        Ok((None, name)) => {
            if let Some(unsaid) = context.login_lines.take() {
                tracing::info!(%peer, user = %Printable(&name), unsaid, "login failed");
            }
            Ok(None)
        }
        Err(error) => {
            tracing::error!(%error, "a password could not be checked");
            Err(Fault::Local)
        }
    }
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

/// Time that all shards share.
fn clock() -> Duration {
    Duration::from_secs(u64::try_from(shard::wall().0).unwrap_or(0))
}

async fn wait(failures: u32) {
    let delay = DELAY * (failures + 1).min(DELAYS_MAX);
    shard::sleep_until(shard::now().after(delay)).await;
}

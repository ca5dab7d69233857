//! server::life – one shard from start to stop.
//!
//! ```text
//!  open the tree · open and recover the spool ─▶ accept ─▶ ready … drain ─▶ deliveries pause ─▶ spool closes
//! ```
//! Promises: nothing is accepted before the shard's spool is recovered; a shard that cannot open what
//! it serves from says why, and the process ends.
//! Not here: the other threads (`run`), sessions (`ftp`, `smtp`).

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use super::deliver::tend;
use super::ingress::Ingress;
use super::shared::{Context, Local, Shared};
use super::sockets::Service;
use super::{drain_watch, ftp, inlet, reload};
use crate::problem::Problem;
use crate::shard::{self, Ready, Root};
use crate::store::accounts::Access;

/// What one shard does.
pub(super) async fn live(shared: Arc<Shared>, ready: Ready) {
    let local = Local::new(shared);
    let (files, mail) = match open(&local).await {
        Ok(opened) => opened,
        Err(problem) => return ready.failed(io::Error::other(problem)),
    };
    if let Some(context) = files.as_ref().filter(|_| shard::index() == 0) {
        shard::spawn("sweep", sweep_all(Rc::clone(context)));
    }
    if let Some(ingress) = &mail {
        let (shared, deliveries) = (Arc::clone(&local.shared), ingress.deliveries.clone());
        shard::spawn("desk", tend(shared, deliveries));
    }
    let ingress = mail.clone();
    shard::accept(move |stream, number| {
        // Sockets are bound for what is configured only.
        let Some(service) = Service::from_number(number) else { return };
        match (service, &files, &ingress) {
            (Service::Ftp | Service::Ftps, Some(context), _) => {
                shard::spawn("session", ftp::session(Rc::clone(context), stream, service));
            }
            (Service::Ftp | Service::Ftps, None, _) => {}
            (_, _, Some(ingress)) => inlet::begin(Rc::clone(ingress), stream, service),
            (_, _, None) => {}
        }
    });
    ready.done();
    drain_watch(local).await;
    if let Some(ingress) = mail {
        ingress.close().await;
    }
}

/// What FTP and what SMTP serves from, as far as the configuration has them.
async fn open(local: &Rc<Local>) -> Result<(Option<Rc<Context>>, Option<Rc<Ingress>>), Problem> {
    let config = local.shared.config.load_full();
    let files = match &config.ftp {
        None => None,
        Some(ftp) => {
            let root = Root::open(&ftp.root, reload::links(ftp.symlinks)).map_err(|error| {
                Problem::path(&ftp.root, error, "make it, or name another root in [ftp]")
            })?;
            Context::new(local, root)
        }
    };
    Ok((files, Ingress::open(local, &config).await?))
}

/// Removes what uploads of earlier runs left behind, wherever uploads could go.
async fn sweep_all(context: Rc<Context>) {
    let ftp = &context.view().ftp;
    let everywhere = context.shared.accounts.load().iter().any(|user| user.ftp == Access::Write);
    let directories =
        if everywhere { vec![Vec::new()] } else { super::shared::upload_directories(ftp) };
    let removed =
        crate::store::files::sweep(context.root(), &directories, context.shared.start).await;
    if removed > 0 {
        tracing::info!(removed, "temporaries of broken-off uploads removed");
    }
}

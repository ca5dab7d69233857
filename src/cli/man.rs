//! cli::man – the manual pages, made from the same text as `--help`.

use std::path::PathBuf;

use clap::{Args, Command};

use super::say;
use crate::server::Failure;

#[derive(Debug, Args)]
pub(super) struct Man {
    /// Page of a subcommand, like `user add`
    command: Vec<String>,
    /// Write every page into this directory instead
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    dir: Option<PathBuf>,
}

pub(super) fn man(man: &Man, mut root: Command) -> Result<(), Failure> {
    if let Some(directory) = &man.dir {
        return clap_mangen::generate_to(root, directory).map(drop).map_err(|error| {
            Failure::Running(format!(
                "{}: {error} (name a directory that exists and is writable)",
                directory.display()
            ))
        });
    }
    root.build();
    let mut page = &root;
    for name in &man.command {
        page = page.find_subcommand(name).ok_or_else(|| {
            let known: Vec<_> = page.get_subcommands().map(Command::get_name).collect();
            Failure::Usage(format!("man: no subcommand {name:?} (known: {})", known.join(", ")))
        })?;
    }
    let title = page.get_display_name().unwrap_or_else(|| page.get_name()).to_owned();
    let mut text = Vec::new();
    clap_mangen::Man::new(page.clone())
        .title(title.to_uppercase())
        .manual("sluicegate")
        .render(&mut text)
        .map_err(|error| Failure::Running(format!("man: {error}")))?;
    say::out(&String::from_utf8_lossy(&text))
}

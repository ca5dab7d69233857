//! cli – the command line: from arguments to an exit status.
//!
//! Promises: exit status 0 done, 1 failed while running, 2 wrong usage or configuration; errors go
//! to standard error as `sluicegate: what: why (what to do)`, one line each.
//! Not here: what the commands do beyond printing (`config`, `store`, `server`).

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;

use crate::config::{Config, Origin, default_text};
use crate::problem::Problem;
use crate::server::Failure;

mod check;
mod human;
mod man;
mod mx;
mod place;
mod queue;
mod say;
mod serve;
mod spool;
mod status;
mod stopped;
mod user;

/// A fast server for FTP and for incoming mail: one shard per core, io_uring underneath.
///
/// `sluicegate serve` without a configuration serves ./sluicegate-data: files by FTP on
/// 127.0.0.1:2121, mail by SMTP on 127.0.0.1:2525.
#[derive(Debug, Parser)]
#[command(
    name = "sluicegate",
    version,
    max_term_width = 100,
    after_help = "Exit status: 0 done; 1 failed while running; 2 wrong usage or configuration."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server in the foreground
    ///
    /// Prints one line per listener and then `ready`. SIGTERM and SIGINT drain and stop, a second
    /// one stops at once; SIGHUP reloads the configuration; SIGUSR1 reopens log files.
    Serve(Serve),
    /// Validate the configuration and look whether this machine can run it
    ///
    /// One line per finding, with the remedy. Exit status 2 when anything must be mended.
    Check(ConfigFile),
    /// Print configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Manage users (users.toml in the data directory)
    ///
    /// A running server sees a change within two seconds.
    #[command(subcommand)]
    User(user::UserCommand),
    /// Show how a running server is: sessions, transfers, rates, mail that waits
    Status(status::StatusCommand),
    /// Inspect and steer accepted mail that is not yet delivered
    ///
    /// Works on a running server, through its admin socket, and on the data of a stopped one.
    #[command(subcommand)]
    Queue(queue::QueueCommand),
    /// Show where mail for a domain would go, as the resolvers say
    ///
    /// One line per host: preference, name, addresses in the order they are tried. Exit status 1 when there is
    /// none. Needs no running server.
    Mx(mx::Mx),
    /// Check, export or summarise the spool of a stopped server
    #[command(subcommand)]
    Spool(spool::SpoolCommand),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the manual page (troff; pipe into `man -l -`)
    Man(man::Man),
}

#[derive(Debug, Args)]
struct ConfigFile {
    /// Configuration file; without it the embedded default
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Serve {
    #[command(flatten)]
    file: ConfigFile,
    /// Data directory; wins over `data_dir` [default: ./sluicegate-data]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Print a commented configuration with every default
    Default,
    /// Print the configuration in force, with nothing left out
    Show(ConfigFile),
}

/// Runs the command the process was started with.
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

/// Runs one command.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let outcome = match Cli::try_parse_from(arguments) {
        Ok(cli) => dispatch(cli.command),
        Err(error) if error.use_stderr() => Err(Failure::Usage(usage(&error))),
        // --help and --version
        Err(error) => say::out(&error.render().to_string()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(text)) => {
            say::error(&text);
            ExitCode::from(2)
        }
        Err(Failure::Running(text)) => {
            say::error(&text);
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(Serve { file, data }) => serve::serve(Origin { file: file.config, data }),
        Command::Check(file) => check::check(&Origin { file: file.config, data: None }),
        Command::Config(ConfigCommand::Default) => say::out(&default_text()),
        Command::Config(ConfigCommand::Show(file)) => {
            say::out(&load(&Origin { file: file.config, data: None })?.to_toml())
        }
        Command::User(command) => user::run(command),
        Command::Status(command) => status::run(&command),
        Command::Queue(command) => queue::run(command),
        Command::Mx(command) => mx::run(&command),
        Command::Spool(command) => spool::run(&command),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "sluicegate", &mut script);
            say::out(&String::from_utf8_lossy(&script))
        }
        Command::Man(man) => man::man(&man, Cli::command()),
    }
}

fn load(origin: &Origin) -> Result<Config, Failure> {
    Config::load(origin).map_err(|problems| usage_of(&problems))
}

fn usage_of(problems: &[Problem]) -> Failure {
    Failure::Usage(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
}

/// Clap's message without its own prefix, on one line, the usage and hints kept.
fn usage(error: &clap::Error) -> String {
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return "no command: say what to do (try sluicegate --help)".to_owned();
    }
    let text = error.render().to_string();
    let text = text.strip_prefix("error: ").unwrap_or(&text);
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let (hints, said): (Vec<&str>, Vec<&str>) = lines.partition(|line| {
        line.starts_with("tip:") || line.starts_with("Usage:") || line.starts_with("For more")
    });
    let hint =
        hints.iter().find_map(|line| line.strip_prefix("tip: ")).map(|tip| format!("{tip}; "));
    format!("{} ({}try sluicegate --help)", said.join(" "), hint.unwrap_or_default())
}

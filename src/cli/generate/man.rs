//! `lerianctl man`.

use std::path::PathBuf;

use clap::Args;
use clap_mangen::Man;

use crate::cli::failure::{Failure, Kind};
use crate::cli::invocation::Invocation;

/// Write the manual pages
///
/// Without `--dir`, the page of lerianctl itself goes to standard output.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  lerianctl man | man -l -\n  lerianctl man --dir /usr/local/share/man/man1"
)]
pub struct ManArgs {
    /// Folder for one page per command
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Writes the pages.
pub fn man(run: &Invocation, args: &ManArgs) -> Result<(), Failure> {
    let pages = pages();
    let Some(dir) = &args.dir else {
        if let Some((_, page)) = pages.first() {
            run.console.out(page);
        }
        return Ok(());
    };
    for (name, page) in pages {
        let path = dir.join(&name);
        std::fs::create_dir_all(dir)
            .and_then(|()| std::fs::write(&path, page))
            .map_err(|error| {
                Failure::new(
                    Kind::Usage,
                    "output.unwritable",
                    format!("`{}` cannot be written", path.display()),
                )
                .cause(error)
            })?;
    }
    Ok(())
}

/// Returns every page with its file name; the first is that of lerianctl itself.
pub fn pages() -> Vec<(String, String)> {
    let mut command = crate::cli::command();
    command.build();
    let mut pages = Vec::new();
    collect(&command, "lerianctl", &mut pages);
    pages
}

fn collect(command: &clap::Command, name: &str, pages: &mut Vec<(String, String)>) {
    let page = Man::new(command.clone().display_name(name.to_owned()))
        .date("")
        .source(format!("lerianctl {}", env!("CARGO_PKG_VERSION")))
        .manual("lerianctl manual");
    let mut text = Vec::new();
    // Writing to memory does not fail.
    let _ = page.render(&mut text);
    pages.push((
        format!("{name}.1"),
        String::from_utf8_lossy(&text).into_owned(),
    ));
    for sub in command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
    {
        collect(sub, &format!("{name}-{}", sub.get_name()), pages);
    }
}

//! The manual page and the completions, both made from the command line itself.

use super::output;
use anyhow::Result;
use clap_complete::Shell;
use clap_mangen::Man as Page;
use clap_mangen::roff::{Roff, bold, roman};
use libreuse_rules::settings::SETTINGS;

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

/// Print the manual page: `reuseaddr man | man -l -`
#[derive(Debug, clap::Args)]
pub(super) struct Man {}

/// What each exit code means, per subcommand.
pub(super) const EXIT_STATUS: &[(&str, &[(&str, &str)])] = &[
    (
        "run",
        &[
            (
                "125",
                "it was asked for something that can't be; nothing was started",
            ),
            ("126", "PROGRAM was found and can't be executed"),
            ("127", "PROGRAM was not found"),
            ("other", "PROGRAM's own, since `run` becomes PROGRAM"),
        ],
    ),
    (
        "check",
        &[
            ("0", "the library works in it"),
            ("1", "it does not"),
            ("2", "that could not be found out"),
        ],
    ),
    (
        "status",
        &[
            (
                "0",
                "a plain bind of every PORT succeeds now, or no PORT was named",
            ),
            ("1", "a plain bind of some PORT fails now"),
            ("2", "that could not be found out"),
        ],
    ),
    (
        "evict",
        &[
            ("0", "nothing that it ends is left on the ports"),
            ("1", "something is left"),
            (
                "2",
                "it may not or can't end anything, or was asked for what can't be",
            ),
        ],
    ),
    (
        "arm",
        &[
            ("0", "every socket of the port is armed"),
            ("1", "there was nothing to arm, or not all of it could be"),
            ("2", "it may not, or was asked for what can't be"),
        ],
    ),
    (
        "systemd, completions, man",
        &[("0", "done"), ("2", "not done")],
    ),
];

/// Prints the completion script.
pub(super) fn completions(arguments: &Completions) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut super::command(),
        "reuseaddr",
        &mut script,
    );
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(super::exit::YES)
}

/// Prints the manual page: one for all subcommands, since each is short.
pub(super) fn man(_: &Man) -> Result<u8> {
    let mut command = super::command().disable_help_subcommand(true);
    command.build();
    let page = Page::new(command.clone()).section("1");
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;

    for subcommand in command.get_subcommands() {
        let mut roff = Roff::new();
        roff.control(
            "SH",
            [format!("reuseaddr {}", subcommand.get_name())
                .to_uppercase()
                .as_str()],
        );
        roff.to_writer(&mut text)?;
        let mut section = Vec::new();
        let page = Page::new(subcommand.clone());
        page.render_synopsis_section(&mut section)?;
        page.render_description_section(&mut section)?;
        page.render_options_section(&mut section)?;
        // Sections of the subcommand are parts of its section here.
        let section = String::from_utf8_lossy(&section).replace("\n.SH ", "\n.SS ");
        let section = section
            .strip_prefix(".SH ")
            .map_or(section.clone(), |rest| format!(".SS {rest}"));
        text.extend_from_slice(section.as_bytes());
    }

    let mut roff = Roff::new();
    roff.control("SH", ["ENVIRONMENT"]);
    roff.text([roman(
        "The library reads these variables; the options of run and of systemd set them.",
    )]);
    for setting in &SETTINGS {
        let plain = |text: &str| text.replace('`', "");
        roff.control("TP", []);
        roff.text([bold(setting.name)]);
        roff.text([roman(format!(
            "{}. Values: {}. Default: {}.",
            plain(setting.effect),
            plain(setting.values),
            plain(setting.default)
        ))]);
    }
    roff.control("TP", []);
    roff.text([bold("NO_COLOR")]);
    roff.text([roman(
        "If it is set and not empty, the command uses no colour.",
    )]);
    roff.control("SH", ["EXIT STATUS"]);
    for (subcommand, codes) in EXIT_STATUS {
        roff.control("SS", [*subcommand]);
        for (code, meaning) in *codes {
            roff.control("TP", []);
            roff.text([bold(*code)]);
            roff.text([roman(*meaning)]);
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text([
        bold("ss"),
        roman("(8), "),
        bold("ld.so"),
        roman("(8), "),
        bold("socket"),
        roman("(7), "),
        bold("tcp"),
        roman("(7), "),
        bold("systemd.exec"),
        roman("(5)"),
    ]);
    roff.to_writer(&mut text)?;
    output::print(&String::from_utf8_lossy(&text))?;
    Ok(super::exit::YES)
}

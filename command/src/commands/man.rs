//! The manual page, made from the command line itself.

use super::exit::{self, EXIT_STATUS};
use crate::output;
use anyhow::Result;
use clap_mangen::Man as Page;
use clap_mangen::roff::{Roff, bold, roman};
use libreuse_rules::settings::SETTINGS;

/// Print the manual page: `reuseaddr man | man -l -`
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}

/// Prints the manual page: one for all subcommands, since each is short.
pub(crate) fn run(_: &Arguments, command: clap::Command) -> Result<u8> {
    let mut command = command.disable_help_subcommand(true);
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
    Ok(exit::YES)
}

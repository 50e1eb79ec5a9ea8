//! Writes a page in the language of man(7).

use clap_mangen::roff::{Roff, bold, italic, roman};

/// The date of the page: `SOURCE_DATE_EPOCH` of the build script.
const DATE: &str = env!("REUSEADDR_DATE");

const MARK: &str = "```";

/// A page that is being written.
pub(super) struct Page {
    roff: Roff,
    /// Whether the last line is a heading.
    is_fresh: bool,
}

impl Page {
    /// Starts a page with its title line.
    pub(super) fn new(name: &str, section: &str, manual: &str, purpose: &str) -> Self {
        let version = concat!("libreuse ", env!("CARGO_PKG_VERSION"));
        let title = name.to_uppercase();
        let mut roff = Roff::new();
        roff.control("TH", [title.as_str(), section, DATE, version, manual]);
        let mut page = Self {
            roff,
            is_fresh: true,
        };
        page.section("NAME");
        page.roff.text([roman(format!("{name} - {purpose}"))]);
        page
    }

    pub(super) fn section(&mut self, title: &str) {
        self.roff.control("SH", [title]);
        self.is_fresh = true;
    }

    pub(super) fn subsection(&mut self, title: &str) {
        self.roff.control("SS", [title]);
        self.is_fresh = true;
    }

    /// Adds a paragraph, in which `this` is bold.
    pub(super) fn paragraph(&mut self, text: &str) {
        if !self.is_fresh {
            self.roff.control("PP", []);
        }
        self.words(text);
    }

    /// Adds the text after a heading, in which `this` is bold.
    pub(super) fn words(&mut self, text: &str) {
        self.is_fresh = false;
        let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut is_bold = false;
        // A line of the source is a line of a terminal; a mark takes three letters there.
        for line in textwrap::wrap(&line.replace('`', MARK), 72) {
            let mut words = Vec::new();
            for (position, part) in line.split(MARK).enumerate() {
                is_bold ^= position > 0;
                if !part.is_empty() {
                    words.push(if is_bold { bold(part) } else { roman(part) });
                }
            }
            self.roff.text(words);
        }
    }

    /// Adds a synopsis line: words are literal, except those in capitals.
    pub(super) fn usage(&mut self, line: &str) {
        if !self.is_fresh {
            self.roff.control("br", []);
        }
        self.is_fresh = false;
        self.roff.text(
            line.split_inclusive(' ')
                .map(|word| {
                    let is_placeholder =
                        word.trim_matches(|letter: char| !letter.is_alphanumeric());
                    if !is_placeholder.is_empty() && is_placeholder == is_placeholder.to_uppercase()
                    {
                        italic(word)
                    } else {
                        bold(word)
                    }
                })
                .collect::<Vec<_>>(),
        );
    }

    /// Adds a term and its meaning.
    pub(super) fn term(&mut self, term: &str, value: &str, meaning: &str) {
        self.roff.control("TP", []);
        let mut tag = Vec::new();
        if !term.is_empty() {
            tag.push(bold(term));
        }
        if !term.is_empty() && !value.is_empty() {
            tag.push(roman(" "));
        }
        if !value.is_empty() {
            tag.push(italic(value));
        }
        self.roff.text(tag);
        let mut paragraphs = meaning.split("\n\n");
        self.words(paragraphs.next().unwrap_or_default());
        for paragraph in paragraphs {
            self.roff.control("IP", []);
            self.words(paragraph);
        }
    }

    /// Adds a command to type, after its purpose.
    pub(super) fn example(&mut self, purpose: &str, command: &str) {
        self.paragraph(purpose);
        self.roff.control("PP", []);
        self.roff.control("RS", ["4"]);
        self.roff.control("EX", []);
        self.roff.text([roman(command)]);
        self.roff.control("EE", []);
        self.roff.control("RE", []);
    }

    /// Adds references to other pages: `ss(8)`, `tcp(7)`.
    pub(super) fn see_also(&mut self, pages: &[(&str, &str)]) {
        self.section("SEE ALSO");
        let mut words = Vec::new();
        for (position, (name, section)) in pages.iter().enumerate() {
            let comma = if position + 1 < pages.len() { ", " } else { "" };
            words.push(bold(*name));
            words.push(roman(format!("({section}){comma}")));
        }
        self.roff.text(words);
    }

    /// Returns the page's source.
    pub(super) fn finish(self) -> String {
        self.roff.to_roff()
    }
}

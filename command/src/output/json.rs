//! Lays out JSON: outer objects and arrays with a line for each item, for people, and inner ones on
//! one line, since there may be thousands.

use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};
use std::io::{Result, Write};

/// All on one line.
pub(crate) const ONE_LINE: usize = 0;

/// The layout of most answers: each key on a line, and each object of an array.
pub(crate) const USUAL: usize = 2;

/// An answer as JSON, without the last end of a line.
pub(super) fn text(answer: &impl Serialize, depth: usize) -> serde_json::Result<Vec<u8>> {
    let mut text = Vec::new();
    answer.serialize(&mut Serializer::with_formatter(
        &mut text,
        Lines {
            outer: PrettyFormatter::new(),
            inner: CompactFormatter,
            depth,
            inside: 0,
        },
    ))?;
    Ok(text)
}

/// Lays out objects and arrays down to a depth by lines, and what is in those on one line.
struct Lines {
    outer: PrettyFormatter<'static>,
    inner: CompactFormatter,
    depth: usize,
    /// In how many objects and arrays we are.
    inside: usize,
}

impl Formatter for Lines {
    fn begin_array<W: ?Sized + Write>(&mut self, to: &mut W) -> Result<()> {
        self.inside += 1;
        if self.inside > self.depth {
            self.inner.begin_array(to)
        } else {
            self.outer.begin_array(to)
        }
    }

    fn end_array<W: ?Sized + Write>(&mut self, to: &mut W) -> Result<()> {
        self.inside -= 1;
        if self.inside >= self.depth {
            self.inner.end_array(to)
        } else {
            self.outer.end_array(to)
        }
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> Result<()> {
        if self.inside > self.depth {
            self.inner.begin_array_value(to, first)
        } else {
            self.outer.begin_array_value(to, first)
        }
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, to: &mut W) -> Result<()> {
        if self.inside > self.depth {
            self.inner.end_array_value(to)
        } else {
            self.outer.end_array_value(to)
        }
    }

    fn begin_object<W: ?Sized + Write>(&mut self, to: &mut W) -> Result<()> {
        self.inside += 1;
        if self.inside > self.depth {
            self.inner.begin_object(to)
        } else {
            self.outer.begin_object(to)
        }
    }

    fn end_object<W: ?Sized + Write>(&mut self, to: &mut W) -> Result<()> {
        self.inside -= 1;
        if self.inside >= self.depth {
            self.inner.end_object(to)
        } else {
            self.outer.end_object(to)
        }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, to: &mut W, first: bool) -> Result<()> {
        if self.inside > self.depth {
            self.inner.begin_object_key(to, first)
        } else {
            self.outer.begin_object_key(to, first)
        }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> Result<()> {
        if self.inside > self.depth {
            self.inner.begin_object_value(to)
        } else {
            self.outer.begin_object_value(to)
        }
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, to: &mut W) -> Result<()> {
        if self.inside > self.depth {
            self.inner.end_object_value(to)
        } else {
            self.outer.end_object_value(to)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn has_a_line_for_each_item_down_to_a_depth() {
        let answer = json!({"a": [{"b": [1, {"c": null}]}, {"b": []}], "d": {}, "e": {"f": 2}});
        let usual = [
            "{",
            "  \"a\": [",
            "    {\"b\":[1,{\"c\":null}]},",
            "    {\"b\":[]}",
            "  ],",
            "  \"d\": {},",
            "  \"e\": {",
            "    \"f\": 2",
            "  }",
            "}",
        ];
        for (depth, expected) in [
            (
                ONE_LINE,
                r#"{"a":[{"b":[1,{"c":null}]},{"b":[]}],"d":{},"e":{"f":2}}"#,
            ),
            (USUAL, &usual.join("\n")),
        ] {
            let text = String::from_utf8(text(&answer, depth).expect("JSON")).expect("UTF-8");
            assert_eq!(text, expected, "{depth}");
            let read: Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(read, answer);
        }
        // Everything in lines is what serde_json calls pretty.
        let all = text(&answer, usize::MAX).expect("JSON");
        let pretty = serde_json::to_vec_pretty(&answer).expect("JSON");
        assert_eq!(all, pretty);
    }
}

//! Text for people on a terminal: what steers a terminal, or makes text look like another, is shown as an escape.
//!
//! Names of models' parts, names of files and words of libraries come from outside. One such sequence could colour a
//! refusal as a success, or write a line that this program never wrote.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io::{self, Write};

/// What of a text is meant as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One line: ends of lines are shown as escapes too.
    Line,
    /// Lines and columns: ends of lines and tabs stay.
    Lines,
}

/// The text with everything that does not print shown as an escape of Rust's (`\u{1b}`, `\r`).
pub fn printable(text: &str, layout: Layout) -> Cow<'_, str> {
    let is_hidden = |letter: char| match letter {
        '\n' | '\t' => layout == Layout::Line,
        letter => letter.is_control() || is_format(letter),
    };
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len().saturating_add(16));
    for letter in text.chars() {
        if is_hidden(letter) {
            // Writing into a string does not fail.
            let _ = write!(shown, "{}", letter.escape_default());
        } else {
            shown.push(letter);
        }
    }
    Cow::Owned(shown)
}

/// Characters that print nothing and change how others look: directions (UAX #9), separators of lines and paragraphs,
/// blanks without width, and the tags (Unicode, general categories Cf, Zl and Zp, as far as they matter here).
const fn is_format(letter: char) -> bool {
    matches!(
        letter,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
    )
}

/// Writes log lines, each of which comes in one call with its end. Sequences that set colours are the formatter's own:
/// it shows those in fields as escapes by itself.
#[derive(Debug)]
pub(crate) struct Lines<W> {
    pub(crate) inner: W,
    pub(crate) colours: bool,
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let (line, end) = text.strip_suffix('\n').map_or((&*text, ""), |line| (line, "\n"));
        let mut shown = String::with_capacity(line.len());
        let mut rest = line;
        while self.colours
            && let Some((before, after)) = rest.split_once("\u{1b}[")
            && let Some(length) = after.find(|letter: char| !letter.is_ascii_digit() && letter != ';')
            && after.get(length..).is_some_and(|after| after.starts_with('m'))
            && let Some((code, after)) = after.split_at_checked(length.saturating_add(1))
        {
            shown.push_str(&printable(before, Layout::Line));
            shown.push_str("\u{1b}[");
            shown.push_str(code);
            rest = after;
        }
        shown.push_str(&printable(rest, Layout::Line));
        shown.push_str(end);
        self.inner.write_all(shown.as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_steers_a_terminal_is_shown_and_letters_of_all_alphabets_stay() {
        assert_eq!(
            printable("\u{1b}[32mok\u{1b}[0m\u{7}\u{9b}2J", Layout::Lines),
            r"\u{1b}[32mok\u{1b}[0m\u{7}\u{9b}2J"
        );
        assert_eq!(printable("a\u{202e}b\u{2066}c\u{2028}", Layout::Lines), r"a\u{202e}b\u{2066}c\u{2028}");
        assert_eq!(printable("one\r\ntwo\tthree", Layout::Lines), "one\\r\ntwo\tthree");
        assert_eq!(printable("one\r\ntwo\tthree", Layout::Line), r"one\r\ntwo\tthree");
        for plain in ["", "größe 大小 الحجم", "µs ≤ 150"] {
            assert!(matches!(printable(plain, Layout::Line), Cow::Borrowed(same) if same == plain));
        }
    }

    #[test]
    fn a_log_line_stays_one_line_and_keeps_its_own_colours_alone() {
        let written = |text: &str, colours| {
            let mut lines = Lines { inner: Vec::new(), colours };
            lines.write_all(text.as_bytes()).unwrap();
            String::from_utf8(lines.inner).unwrap()
        };
        assert_eq!(written("name=x\n2026 INFO forged\r\n", false), "name=x\\n2026 INFO forged\\r\n");
        assert_eq!(written("\u{1b}[2mdim\u{1b}[0m\n", true), "\u{1b}[2mdim\u{1b}[0m\n");
        assert_eq!(written("\u{1b}[2mdim\n", false), "\\u{1b}[2mdim\n");
        assert_eq!(written("a\u{1b}[2Jb\u{1b}]0;title\u{7}\n", true), "a\\u{1b}[2Jb\\u{1b}]0;title\\u{7}\n");
        assert_eq!(written("\u{1b}[31", true), "\\u{1b}[31");
    }
}

//! Messages put together from the pieces in which they come (PS3.8 annex E): a command, then its data set if it has one,
//! all on one presentation context.

use super::command::{LONGEST_COMMAND, Request};
use super::pdu::{DataValue, Part};

/// What a piece brought about.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// More has to come.
    Nothing,
    /// A request is whole; its data set begins, if it has one.
    Request(u8, Request),
    /// A piece of the data set of the last request.
    Piece(&'a [u8]),
    /// The last piece of it.
    LastPiece(&'a [u8]),
}

/// Pieces that make no message. Nothing that follows on the association can be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Disorder {
    #[error("a piece of another message came in between")]
    Mixed,
    #[error("a command is too long")]
    TooLong,
    #[error("a command cannot be read")]
    Malformed,
}

/// Where the message stands.
#[derive(Debug, Default)]
pub(crate) enum Exchange {
    /// No message has begun.
    #[default]
    Between,
    /// A command has begun.
    Command { context: u8, set: Vec<u8> },
    /// A data set is to come or has begun.
    DataSet { context: u8 },
}

impl Exchange {
    /// Whether a message has begun and is not whole.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self, Self::Between)
    }

    /// Takes the next piece.
    pub(crate) fn take<'a>(&mut self, value: &DataValue<'a>) -> Result<Step<'a>, Disorder> {
        match (&mut *self, value.part) {
            (Self::Between, Part::Command) => {
                *self = Self::Command { context: value.context, set: Vec::new() };
                self.command(value)
            }
            (Self::Command { context, .. }, Part::Command) if *context == value.context => {
                self.command(value)
            }
            (Self::DataSet { context }, Part::DataSet) if *context == value.context => {
                if value.is_last {
                    *self = Self::Between;
                    return Ok(Step::LastPiece(value.bytes));
                }
                Ok(Step::Piece(value.bytes))
            }
            _ => Err(Disorder::Mixed),
        }
    }

    fn command<'a>(&mut self, value: &DataValue<'_>) -> Result<Step<'a>, Disorder> {
        let Self::Command { context, set } = self else { return Err(Disorder::Mixed) };
        if set.len().saturating_add(value.bytes.len()) > LONGEST_COMMAND {
            return Err(Disorder::TooLong);
        }
        set.extend(value.bytes);
        if !value.is_last {
            return Ok(Step::Nothing);
        }
        let request = Request::read(set).ok_or(Disorder::Malformed)?;
        let context = *context;
        *self = if request.has_data_set { Self::DataSet { context } } else { Self::Between };
        Ok(Step::Request(context, request))
    }
}

#[cfg(test)]
mod tests {
    use super::super::command::tests::store;
    use super::*;

    fn value(context: u8, part: Part, is_last: bool, bytes: &[u8]) -> DataValue<'_> {
        DataValue { context, part, is_last, bytes }
    }

    #[test]
    fn a_message_is_put_together_from_any_pieces() {
        let command = store("1.2.840.10008.5.1.4.1.1.2", "1.2.3");
        let mut exchange = Exchange::default();
        let (last, rest) = command.split_last().unwrap();
        for byte in rest {
            let step = exchange.take(&value(1, Part::Command, false, std::slice::from_ref(byte)));
            assert_eq!(step, Ok(Step::Nothing));
            assert!(exchange.is_open());
        }
        let step = exchange.take(&value(1, Part::Command, true, std::slice::from_ref(last))).unwrap();
        assert!(matches!(step, Step::Request(1, _)));
        assert_eq!(exchange.take(&value(1, Part::DataSet, false, b"ab")), Ok(Step::Piece(b"ab")));
        assert!(exchange.is_open());
        assert_eq!(exchange.take(&value(1, Part::DataSet, true, b"")), Ok(Step::LastPiece(b"")));
        assert!(!exchange.is_open());
    }

    #[test]
    fn pieces_of_two_messages_are_not_mixed() {
        let command = store("1.2.840.10008.5.1.4.1.1.2", "1.2.3");
        let begun = |pieces: &[(u8, Part, bool)]| {
            let mut exchange = Exchange::default();
            let mut last = Ok(Step::Nothing);
            for (context, part, is_last) in pieces {
                let bytes = if *part == Part::Command { &command[..] } else { b"" };
                last = exchange.take(&value(*context, *part, *is_last, bytes)).map(|_| Step::Nothing);
            }
            last
        };
        use Part::{Command, DataSet};
        assert_eq!(begun(&[(1, Command, true), (1, DataSet, true), (3, Command, true)]), Ok(Step::Nothing));
        for pieces in [
            &[(1, DataSet, true)][..],
            &[(1, Command, false), (3, Command, true)],
            &[(1, Command, false), (1, DataSet, true)],
            &[(1, Command, true), (3, DataSet, true)],
            &[(1, Command, true), (1, Command, true)],
        ] {
            assert_eq!(begun(pieces), Err(Disorder::Mixed), "{pieces:?}");
        }
    }

    #[test]
    fn a_command_without_an_end_is_given_up() {
        let mut exchange = Exchange::default();
        let piece = [0; 1 << 10];
        let steps = (0..=16).map(|_| exchange.take(&value(1, Part::Command, false, &piece)));
        assert_eq!(steps.last(), Some(Err(Disorder::TooLong)));
    }
}

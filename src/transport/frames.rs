//! The events in the bytes of a server, taken apart within its limits.

use super::limits::Account;
use crate::error::Result;
use crate::events::Event;
use crate::wire;

/// The bytes of a server that were read and not yet taken.
#[derive(Debug)]
pub(super) struct Frames {
    /// Where more is read to.
    pub(super) buffer: Vec<u8>,
    /// How much of the buffer is taken: moving the rest for each frame would take long.
    taken: usize,
}

impl Frames {
    /// `buffer` was read before.
    pub(super) fn new(buffer: Vec<u8>) -> Self {
        Self { buffer, taken: 0 }
    }

    /// The next event that is complete; `None` if more has to be read first.
    ///
    /// # Errors
    /// If the server says more than it may, or something that is no event.
    pub(super) fn take(&mut self, account: &mut Account) -> Result<Option<Event>> {
        while let Some((length, rest)) = self.buffer[self.taken..].split_first_chunk::<4>() {
            let length = u32::from_le_bytes(*length) as usize;
            account.frame(length)?;
            let Some(payload) = rest.get(..length) else { break };
            account.spend(length);
            self.taken += wire::HEARTBEAT.len() + length;
            if length > 0 {
                let event = wire::decode(payload).map_err(|error| account.garbled(&error))?;
                account.event(&event, length)?;
                return Ok(Some(event));
            }
        }
        self.buffer.drain(..self.taken);
        self.taken = 0;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        let mut frames = Frames::new(bytes.to_vec());
        let mut account = Account::new("rufus");
        loop {
            match frames.take(&mut account) {
                Err(error) => return error.to_string(),
                Ok(None) => frames.buffer.extend_from_slice(bytes),
                Ok(Some(_)) => {}
            }
        }
    }

    #[test]
    fn heartbeats_are_passed_over() {
        let warning = Event::Warning { message: "x".to_owned() };
        let bytes =
            [&wire::HEARTBEAT[..], &wire::encode(&warning).unwrap(), &wire::HEARTBEAT, &[9]];
        let mut frames = Frames::new(bytes.concat());
        let mut account = Account::new("rufus");
        assert_eq!(frames.take(&mut account).unwrap(), Some(warning));
        assert_eq!(frames.take(&mut account).unwrap(), None);
        assert_eq!(frames.buffer, [9]);
    }

    #[test]
    fn a_length_is_refused_before_its_bytes_are_there() {
        assert_eq!(
            refusal(&[0xff; 4]),
            "`rufus` sends an event of more than 4 MiB\n\
             hint: no agent of infra does that: find out what runs on `rufus`"
        );
    }

    #[test]
    fn what_is_no_event_is_refused() {
        assert_eq!(
            refusal(&[1, 0, 0, 0, 0xff]),
            "`rufus` sends something that is no event\n\
             caused by: Hit the end of buffer, expected more data\n\
             hint: no agent of infra does that: find out what runs on `rufus`"
        );
    }

    #[test]
    fn heartbeats_have_an_end() {
        assert_eq!(
            refusal(&vec![0; 1 << 20]),
            "`rufus` sends more than 64 MiB in one run\n\
             hint: no agent of infra does that: find out what runs on `rufus`"
        );
    }
}

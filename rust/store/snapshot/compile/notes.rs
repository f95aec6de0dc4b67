//! What is wrong in the inputs, or does nothing: sentences, each of one input, the first few of a kind and the number of the rest.
#![forbid(unsafe_code)]

/// Sentences that are kept.
pub(super) const MOST: usize = 20;

/// A sentence about the input with this number; 0 is the text file.
pub type Note = (u8, String);

/// Notes of one kind.
#[derive(Default)]
pub(super) struct Notes {
    first: Vec<Note>,
    total: usize,
}

impl Notes {
    pub fn add(&mut self, source: u8, sentence: String) {
        self.total += 1;
        if self.first.len() < MOST {
            self.first.push((source, sentence));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    pub fn list(mut self) -> Vec<Note> {
        if let (Some((source, _)), more @ 1..) = (self.first.last(), self.total - self.first.len()) {
            self.first.push((*source, format!("... and {more} more")));
        }
        self.first
    }
}

/// What a terminal and a log can show of foreign octets, cut to 60 characters.
pub(super) fn printable(octets: &[u8]) -> String {
    let text = String::from_utf8_lossy(octets);
    let mut characters = text.trim().chars();
    let mut shown: String = characters.by_ref().take(60).flat_map(char::escape_debug).collect();
    if characters.next().is_some() {
        shown.push_str("...");
    }
    shown
}

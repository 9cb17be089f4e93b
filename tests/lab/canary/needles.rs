//! The secrets, and what they look like when somebody has encoded them.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use aho_corasick::AhoCorasick;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha256};

/// Larger files are read in pieces that overlap by this much.
const OVERLAP: usize = 4096;
const PIECE: usize = 8 << 20;

/// A secret of the test.
#[derive(Clone)]
pub(super) struct Canary {
    /// Its name below `secrets`.
    pub(super) name: String,
    /// The text that must not leak.
    pub(super) value: String,
    /// The letters and digits in it that are found nowhere else.
    core: String,
}

impl Canary {
    /// 24 letters and digits that depend on the name, the round and this run.
    pub(super) fn new(name: &str, round: usize) -> Self {
        let seed =
            format!("{name} {round} {} {:?}", std::process::id(), std::time::SystemTime::now());
        let digest = BASE64_STANDARD.encode(Sha256::digest(seed));
        let core: String = digest.chars().filter(char::is_ascii_alphanumeric).take(24).collect();
        Self { name: name.to_owned(), value: core.clone(), core }
    }
}

/// Fifty, each of its own shape.
pub(super) fn canaries(round: usize) -> Vec<Canary> {
    let mut canaries: Vec<Canary> =
        (1..=50).map(|number| Canary::new(&format!("c{number:02}"), round)).collect();
    for (number, canary) in canaries.iter_mut().enumerate().map(|(index, c)| (index + 1, c)) {
        let core = &canary.core;
        canary.value = match number {
            // Quoting and escaping have to cope with these.
            26 => format!("{core} '\\$&<>%"),
            4 | 5 | 18 | 19 => format!("{core}'\"\\$&<>%"),
            17 | 28 | 46 => format!("{core}/?&=+ é"),
            40 => format!("-----BEGIN KEY-----\n{core}\nsecond line\n-----END KEY-----\n"),
            // Characters that have to be escaped somewhere, beside the core that is searched for.
            25 => format!("{core}\"\\'% é"),
            50 => format!("$6$saltsalt${core}{core}{core}{}", &core[..14]),
            _ => continue,
        };
    }
    canaries
}

/// A search for all of them at once.
pub(super) struct Needles {
    automaton: AhoCorasick,
    /// For each pattern: whose it is, and how it is encoded.
    labels: Vec<String>,
}

impl Needles {
    pub(super) fn new(canaries: &[&Canary]) -> Self {
        let (mut patterns, mut labels) = (Vec::new(), Vec::new());
        for canary in canaries {
            for (how, pattern) in encodings(canary) {
                patterns.push(pattern);
                labels.push(format!("{}, {how}", canary.name));
            }
        }
        Self { automaton: AhoCorasick::new(patterns).unwrap(), labels }
    }

    /// The secrets in `bytes`, each once.
    pub(super) fn find(&self, place: &str, bytes: &[u8]) -> Vec<String> {
        let matches = self.automaton.find_iter(bytes).map(|found| found.pattern().as_usize());
        let mut found: Vec<usize> = matches.collect();
        found.sort_unstable();
        found.dedup();
        found.into_iter().map(|index| format!("{}, in {place}", self.labels[index])).collect()
    }

    /// Searches a file, or the files below a folder that `wanted` wants.
    pub(super) fn find_at(
        &self,
        path: &Path,
        wanted: &mut dyn FnMut(&Path) -> bool,
        found: &mut Vec<String>,
    ) {
        if path.is_dir() {
            self.find_below(path, wanted, found);
        } else if path.is_file() {
            self.find_in_file(path, found);
        }
    }

    /// Searches the files below `folder` that `wanted` wants, on its file system: a file of a `/proc` that is
    /// mounted there may have no end. Links are not followed.
    pub(super) fn find_below(
        &self,
        folder: &Path,
        wanted: &mut dyn FnMut(&Path) -> bool,
        found: &mut Vec<String>,
    ) {
        // Other processes may remove what is listed here: what is gone leaks nothing.
        let device = |data: fs::Metadata| data.dev();
        let own = fs::metadata(folder).map(device).ok();
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
            if kind.is_dir() && entry.metadata().map(device).ok() == own {
                self.find_below(&path, wanted, found);
            } else if kind.is_file() && wanted(&path) {
                self.find_in_file(&path, found);
            }
        }
    }

    fn find_in_file(&self, path: &Path, found: &mut Vec<String>) {
        use std::io::{Read as _, Seek as _, SeekFrom};
        let Ok(mut file) = fs::File::open(path) else { return };
        let place = path.display().to_string();
        let mut bytes = Vec::new();
        let mut offset = 0_u64;
        loop {
            bytes.clear();
            if file.seek(SeekFrom::Start(offset)).is_err() {
                return;
            }
            let Ok(count) = (&mut file).take(PIECE as u64).read_to_end(&mut bytes) else { return };
            found.extend(self.find(&place, &bytes));
            if count < PIECE {
                return;
            }
            offset += (PIECE - OVERLAP) as u64;
        }
    }
}

/// The encodings that are searched for. Each part is long enough that it occurs by no accident.
fn encodings(canary: &Canary) -> Vec<(&'static str, Vec<u8>)> {
    let core = canary.core.as_str();
    let (begin, end) = (&core[..10], &core[core.len() - 8..]);
    let reversed: String = core.chars().rev().collect();
    let hex =
        |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let mut all = vec![
        ("as it is", begin.to_owned()),
        ("its end", end.to_owned()),
        ("in capitals", begin.to_uppercase()),
        ("in small letters", core[1..11].to_lowercase()),
        ("reversed", reversed[..10].to_owned()),
        ("in hexadecimal digits", hex(begin)),
        ("in hexadecimal digits", hex(begin).to_uppercase()),
        ("hashed", format!("{:x}", Sha256::digest(&canary.value))[..16].to_owned()),
        // Chance decides how many of them there are.
        ("without digits", core.chars().filter(|c| !c.is_ascii_digit()).take(12).collect()),
        ("with other letters", core.replace('a', "b")[..12].to_owned()),
    ];
    // base64 looks different after zero, one and two bytes; what neighbours touch is left out.
    for skipped in 0..3 {
        let text = format!("{}{}", &"xx"[..skipped], core);
        let encoded = BASE64_STANDARD.encode(text);
        all.push(("in base64", encoded[4..24].to_owned()));
        if skipped == 0 {
            let twice = BASE64_STANDARD.encode(BASE64_STANDARD.encode(core));
            all.push(("in base64 twice", twice[..24].to_owned()));
        }
    }
    all.into_iter().map(|(how, text)| (how, text.into_bytes())).collect()
}

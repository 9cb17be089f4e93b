//! The key that seals saved plans: `secrets/plans.yaml.age`.
//!
//! age keeps a plan secret and says nothing about its author: the recipients are public. So each
//! plan carries a seal that only readers of this file can make, and that `apply --plan` checks.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::document;
use super::folder::{Folder, Replaced};
use super::open;
use super::recipients::Recipients;
use crate::error::{Context as _, Error, Result};
use crate::yaml::Node;

/// The name of the file with the key, in `secrets/`. No server reads the file.
pub const PLANS_FILE: &str = "plans";

/// The name of the key in the file.
const NAME: &str = "key";

/// The length of the key, in bytes.
const LENGTH: usize = 32;

/// The length of the digest of a secret, in hexadecimal digits.
const DIGEST_DIGITS: usize = 32;

/// In place of the name of a secret, which is never empty.
pub(super) const KEY_NAME: &str = "";

/// Keeps one use of the key from serving another.
const PLAN: &[u8] = b"infra plan\0";
const SECRET: &[u8] = b"infra secret\0";

/// Seals plans, and checks their seals.
pub struct PlanKey(Zeroizing<Vec<u8>>);

impl std::fmt::Debug for PlanKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PlanKey")
    }
}

impl PlanKey {
    /// The key that these bytes are; more than the first 64 do not count.
    pub fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// The key for plans of the lab. The lab's identity is public, so that this key is as well.
    pub fn of_lab() -> Self {
        Self::new(b"lab")
    }

    /// The seal of `text`: 32 bytes of HMAC-SHA-256.
    pub fn seal(&self, text: &[u8]) -> Vec<u8> {
        self.mac(PLAN, text).finalize().into_bytes().to_vec()
    }

    /// Whether `seal` is the seal of `text`. Takes as long for each wrong seal.
    pub fn is_seal(&self, text: &[u8], seal: &[u8]) -> bool {
        self.mac(PLAN, text).verify_slice(seal).is_ok()
    }

    /// The digest of a secret in the file `file`: it tells whether a value has changed, and without
    /// the key nobody can find the value by trying.
    fn digest(&self, file: &str, name: &str, value: &str) -> String {
        let text = Zeroizing::new([file, name, value].join("\0"));
        format!("{:.DIGEST_DIGITS$x}", self.mac(SECRET, text.as_bytes()).finalize().into_bytes())
    }

    fn mac(&self, purpose: &[u8], text: &[u8]) -> Hmac<Sha256> {
        // HMAC fills a key up to the length of a block with zeros.
        let mut block = [0; 64];
        block.iter_mut().zip(self.0.iter()).for_each(|(to, from)| *to = *from);
        let mut mac = <Hmac<Sha256> as KeyInit>::new(&block.into());
        mac.update(purpose);
        mac.update(text);
        mac
    }
}

impl Folder {
    /// The key in `secrets/plans.yaml.age`; `None` if there is no such file.
    ///
    /// # Errors
    /// Names the file if nobody here can open it, or if it holds no key.
    pub fn plan_key(&self) -> Result<Option<PlanKey>> {
        let Some(opened) = self.open(PLANS_FILE)? else { return Ok(None) };
        let shown = Self::shown(PLANS_FILE);
        let document = open::document(&shown, &opened.text)?;
        let key = document.as_map().and_then(|map| map.value(NAME)).and_then(Node::as_str);
        let key = key.and_then(bytes_of).ok_or_else(|| {
            Error::input(format!("`{shown}` holds no key for plans"))
                .because(format!("`{NAME}` has to be {} hexadecimal digits", 2 * LENGTH))
                .hint("remove the file: `infra diff TARGET --out FILE` makes a new one")
        })?;
        Ok(Some(PlanKey(key)))
    }

    /// The digests of the values in `text`, the content of the file `name`; beside them, as the
    /// digest of [`KEY_NAME`], one that tells the key from others. None where nobody here has the
    /// key for plans at hand, because a command that needs no identity asks for none; and none where
    /// somebody has the key who may not read the file, because the key lets them try values.
    pub(super) fn digests(
        &self,
        name: &str,
        text: &str,
        recipients: &Recipients,
    ) -> BTreeMap<String, String> {
        let is_for_all = recipients.of_file(PLANS_FILE).iter().all(|reader| reader.reads(name));
        let key = self.has_identities().then(|| self.plan_key().ok().flatten()).flatten();
        let Some(key) = key.filter(|_| name != PLANS_FILE && is_for_all) else {
            return BTreeMap::new();
        };
        let values = document::values(name, text).unwrap_or_default();
        let digest =
            |(of, value): (&String, &Zeroizing<String>)| (of.clone(), key.digest(name, of, value));
        let own = (KEY_NAME.to_owned(), key.digest("", KEY_NAME, ""));
        values.iter().map(digest).chain([own]).collect()
    }

    /// Makes the file with a new key.
    ///
    /// # Errors
    /// If nobody may read the file, or somebody else makes it at the same time.
    pub fn make_plan_key(&self) -> Result<PlanKey> {
        let mut key = Zeroizing::new(vec![0; LENGTH]);
        rustix::rand::getrandom(&mut key[..], rustix::rand::GetRandomFlags::empty())
            .context(|| "cannot make a key for plans".to_owned())?;
        let mut text = Zeroizing::new(format!("{NAME}: \""));
        for byte in key.iter() {
            // Writing to a text cannot fail.
            let _ = write!(*text, "{byte:02x}");
        }
        text.push_str("\"\n");
        match self.replace(PLANS_FILE, None, &text)? {
            Replaced::Done => Ok(PlanKey(key)),
            Replaced::Changed => {
                let error = Error::failed(format!("cannot write `{}`", Self::shown(PLANS_FILE)));
                Err(error.because("somebody else has just made it").hint("try again"))
            }
        }
    }
}

fn bytes_of(digits: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    let pair = |pair: &[u8; 2]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let is_whole = pairs.len() == LENGTH && rest.is_empty();
    let bytes: Option<Vec<u8>> = pairs.iter().map(pair).collect();
    bytes.filter(|_| is_whole).map(Zeroizing::new)
}

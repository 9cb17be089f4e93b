//! The formats of ansible-vault: 1.0, 1.1 and 1.2, which adds a label.

use std::collections::BTreeSet;
use std::path::Path;

use aes::Aes256;
use aes::cipher::block_padding::Pkcs7;
use aes::cipher::{BlockDecryptMut as _, KeyIvInit as _, StreamCipher as _};
use hmac::{Hmac, Mac as _};
use md5::Digest as _;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::refused;
use crate::error::{Context as _, Error, Result};
use crate::secrets::Ask;

/// How every vault begins.
const HEADER: &str = "$ANSIBLE_VAULT;";

/// What PBKDF2 costs and gives in the cipher `AES256`.
const ROUNDS: u32 = 10_000;
const KEY: usize = 32;
const BLOCK: usize = 16;

type Plaintext = Zeroizing<Vec<u8>>;

/// Whether a text is a vault.
pub(super) fn is_vault(text: &str) -> bool {
    text.trim_start().starts_with(HEADER)
}

/// The passwords of a run: given by the user, or asked for once a label.
#[derive(Default)]
pub struct VaultPasswords {
    /// With the label of the vaults that they are for; `None` for any.
    known: Vec<(Option<String>, Zeroizing<Vec<u8>>)>,
    /// Labels whose password is asked for when the first of their vaults is opened.
    prompts: BTreeSet<String>,
    /// Whether a file was named: then the user means these passwords.
    has_files: bool,
    ask: Option<Ask>,
}

impl VaultPasswords {
    /// None yet; `ask` asks the person at the terminal.
    pub fn new(ask: Option<Ask>) -> Self {
        Self { ask, ..Self::default() }
    }

    /// The password of the vaults with this label is asked for.
    pub fn add_prompt(&mut self, label: &str) {
        self.prompts.insert(label.to_owned());
    }

    /// Reads a password from the first line of a file, as ansible does. `label` says which vaults
    /// it is for.
    ///
    /// # Errors
    /// If the file cannot be read, is empty, or is a program.
    pub fn add_file(&mut self, label: Option<&str>, path: &Path) -> Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        let shown = path.display();
        let what = || format!("cannot read the vault password `{shown}`");
        let metadata = std::fs::metadata(path).context(what)?;
        if metadata.is_file() && metadata.permissions().mode() & 0o111 != 0 {
            return Err(Error::input(what())
                .because("it is a program, which infra does not run")
                .hint(format!("in bash: `--vault-password-file <({shown})`")));
        }
        let bytes = Zeroizing::new(std::fs::read(path).context(what)?);
        let password = bytes.trim_ascii().to_vec();
        if password.is_empty() {
            return Err(Error::input(what()).because("it is empty"));
        }
        self.known.push((label.map(str::to_owned), password.into()));
        self.has_files = true;
        Ok(())
    }

    /// Opens a vault with the passwords for its label, then with the others; asks if no password
    /// for its label was given or typed, and none of the others was given in a file.
    ///
    /// # Errors
    /// Says whether the format or the password is wrong.
    pub(super) fn open(&mut self, path: &str, text: &str) -> Result<Plaintext> {
        let vault = Vault::parse(text).map_err(|cause| refused(path).because(cause))?;
        let mut known: Vec<&(Option<String>, Zeroizing<Vec<u8>>)> = self.known.iter().collect();
        known.sort_by_key(|(label, _)| label.as_deref() != vault.label);
        for (_, password) in &known {
            if let Some(plaintext) = vault.open(password) {
                return Ok(plaintext);
            }
        }
        let label = vault.label.unwrap_or_default();
        let is_answered = known.iter().any(|(known, _)| known.as_deref() == vault.label);
        let may_ask = self.prompts.contains(label) || !self.has_files;
        if is_answered || !may_ask {
            return Err(wrong(path, vault.label));
        }
        let question = match vault.label {
            Some(label) => format!("Vault password ({label})"),
            None => "Vault password".to_owned(),
        };
        let answer = self.ask.as_ref().and_then(|ask| ask(&question)).ok_or_else(|| {
            refused(path)
                .because("it wants a vault password, and nobody is there to ask")
                .hint("name a file with `--vault-password-file` or ANSIBLE_VAULT_PASSWORD_FILE")
        })?;
        let password = Zeroizing::new(answer.into_bytes());
        let plaintext = vault.open(&password).ok_or_else(|| wrong(path, vault.label))?;
        self.known.push((vault.label.map(str::to_owned), password));
        Ok(plaintext)
    }
}

fn wrong(path: &str, label: Option<&str>) -> Error {
    let error = refused(path);
    match label {
        Some(label) => error
            .because(format!("no vault password opens the vault `{label}`"))
            .hint(format!("name its file with `--vault-id {label}@FILE`")),
        None => error.because("no vault password opens it"),
    }
}

/// A vault, taken apart.
struct Vault<'a> {
    cipher: Cipher,
    label: Option<&'a str>,
    /// What the hexadecimal digits stand for.
    body: Vec<u8>,
}

enum Cipher {
    /// 1.0: CBC, the key by MD5, as `openssl enc` did.
    Aes,
    /// CTR, the key by PBKDF2, verified by HMAC.
    Aes256,
}

impl<'a> Vault<'a> {
    fn parse(text: &'a str) -> Result<Self, String> {
        let mut lines = text.trim_start().lines();
        let head = lines.next().unwrap_or_default().trim_end();
        let mut words = head.split(';').skip(1);
        let version = words.next().unwrap_or_default();
        let cipher = match (version, words.next().unwrap_or_default()) {
            ("1.0", "AES") => Cipher::Aes,
            ("1.0" | "1.1" | "1.2", "AES256") => Cipher::Aes256,
            (version, cipher) => {
                return Err(format!("infra does not know vaults of the format {version} {cipher}"));
            }
        };
        let label = words.next().filter(|label| !label.is_empty() && version == "1.2");
        let digits: String = lines.map(str::trim).collect();
        let body = unhex(digits.as_bytes()).ok_or("its lines are not hexadecimal digits")?;
        Ok(Self { cipher, label, body })
    }

    fn open(&self, password: &[u8]) -> Option<Plaintext> {
        match self.cipher {
            Cipher::Aes => self.open_aes(password),
            Cipher::Aes256 => self.open_aes256(password),
        }
    }

    fn open_aes256(&self, password: &[u8]) -> Option<Plaintext> {
        let mut parts = self.body.split(|byte| *byte == b'\n').map(unhex);
        let (salt, mac, mut text) = (parts.next()??, parts.next()??, parts.next()??);
        let mut keys = Zeroizing::new([0; 2 * KEY + BLOCK]);
        pbkdf2::pbkdf2_hmac::<Sha256>(password, &salt, ROUNDS, &mut *keys);
        let (cipher, rest) = keys.split_at(KEY);
        let (verifier, counter) = rest.split_at(KEY);
        let mut hmac = <Hmac<Sha256> as hmac::Mac>::new_from_slice(verifier).ok()?;
        hmac.update(&text);
        hmac.verify_slice(&mac).ok()?;
        ctr::Ctr128BE::<Aes256>::new_from_slices(cipher, counter).ok()?.apply_keystream(&mut text);
        let padding = usize::from(*text.last()?);
        let length = text.len().checked_sub(padding).filter(|_| (1..=BLOCK).contains(&padding))?;
        text.truncate(length);
        Some(Zeroizing::new(text))
    }

    fn open_aes(&self, password: &[u8]) -> Option<Plaintext> {
        let rest = self.body.strip_prefix(b"Salted__")?;
        let (salt, text) = rest.split_at_checked(8)?;
        let (mut keys, mut last) = (Zeroizing::new(Vec::new()), Vec::new());
        while keys.len() < KEY + BLOCK {
            let digest = md5::Md5::new().chain_update(&last).chain_update(password);
            last = digest.chain_update(salt).finalize().to_vec();
            keys.extend_from_slice(&last);
        }
        let cipher =
            cbc::Decryptor::<Aes256>::new_from_slices(&keys[..KEY], &keys[KEY..KEY + BLOCK]);
        let plain = cipher.ok()?.decrypt_padded_vec_mut::<Pkcs7>(text).ok()?;
        let plain = Zeroizing::new(plain);
        // A hash in hexadecimal digits stands before the content.
        let (hash, content) = plain.split_at_checked(65)?;
        let wanted = format!(
            "{:x}\n",
            sha2::Digest::finalize(sha2::Digest::chain_update(
                <Sha256 as sha2::Digest>::new(),
                content,
            ))
        );
        (hash == wanted.as_bytes()).then(|| Zeroizing::new(content.to_vec()))
    }
}

fn unhex(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pair = |pair: &[u8; 2]| u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok();
    let (pairs, rest) = digits.as_chunks::<2>();
    if rest.is_empty() { pairs.iter().map(pair).collect() } else { None }
}

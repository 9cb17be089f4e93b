//! SOPS: every value encrypted on its own with one key, which age encrypts to each recipient. A
//! hash over all values in their order shows that nobody moved or replaced one.

use aes_gcm::aead::consts::U32;
use aes_gcm::aead::{Aead as _, KeyInit as _, Payload};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, Nonce};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use sha2::{Digest as _, Sha512};
use zeroize::Zeroizing;

use super::{Imported, Unwrap, only, refused, under};
use crate::error::{Error, Result};
use crate::yaml::{Entry, Map, Node, Value};

/// AES-256 in Galois/counter mode with nonces of 32 bytes, as SOPS has it.
type Cipher = AesGcm<Aes256, U32>;

/// The key with what SOPS needs to know.
const METADATA: &str = "sops";

/// What SOPS calls the content of a file that has no structure that it knows.
const BINARY: &str = "data";

/// What says that only some values are encrypted.
const RULES: [&str; 4] =
    ["encrypted_regex", "encrypted_suffix", "unencrypted_regex", "unencrypted_comment_regex"];

/// What the hash begins with if it covers only encrypted values: SHA-256 of `sops`.
const ONLY_ENCRYPTED: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b,
    0x0b, 0x97, 0x5b, 0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

/// Whether SOPS wrote a document.
pub(super) fn is_sops(document: &Node) -> bool {
    metadata(document).is_some_and(|metadata| metadata.value("mac").is_some())
}

fn metadata(document: &Node) -> Option<&Map> {
    document.as_map()?.value(METADATA)?.as_map()
}

/// Takes the values that are encrypted, after the hash over all was verified.
pub(super) fn import(
    path: &str,
    document: &Node,
    name: Option<&str>,
    unwrap: Unwrap<'_>,
) -> Result<Imported> {
    let metadata = metadata(document).ok_or_else(|| refused(path))?;
    let text = |name: &str| metadata.value(name).and_then(Node::scalar).unwrap_or_default();
    let key = data_key(path, metadata, unwrap)?;
    let cipher = Cipher::new_from_slice(&key)
        .map_err(|_| refused(path).because("the key in it does not have 32 bytes"))?;
    let only_encrypted = text("mac_only_encrypted") == "true";
    let mut walk = Walk { path, cipher, hash: Sha512::new(), only_encrypted };
    if only_encrypted {
        walk.hash.update(ONLY_ENCRYPTED);
    }
    let mut plain = 0;
    // SOPS writes an empty text as it is, wherever it encrypts the others.
    let encrypts_all = RULES.iter().all(|rule| metadata.value(rule).is_none_or(Node::is_null));
    let is_secret = |node: &Node| {
        node.as_str().is_some_and(|text| is_encrypted(text) || text.is_empty() && encrypts_all)
    };
    let entries = document.as_map().map(|map| map.entries.clone()).unwrap_or_default();
    let entries = entries.into_iter().filter(|entry| &*entry.key != METADATA).collect();
    let values = Node { span: document.span.clone(), value: Value::Map(Map { entries }.into()) };
    // All are walked, because the hash covers all; then those in the open are left out.
    let opened = walk.node(&values, &mut Vec::new())?;
    let found = format!("{:X}", walk.hash.clone().finalize());
    let wanted = walk.value(text("mac"), text("lastmodified"));
    if wanted.is_none_or(|wanted| !wanted.text.eq_ignore_ascii_case(&found)) {
        return Err(refused(path)
            .because("its checksum does not fit: somebody changed it without SOPS")
            .hint("look at its history, and write it anew with `sops`"));
    }
    let node = only(&values, &is_secret, &mut plain)
        .ok_or_else(|| refused(path).because("no value of it is encrypted"))?;
    let node = taken(&node, &opened);
    let Some(name) = name else {
        return Ok(Imported { node, text: None, plain, told: Vec::new() });
    };
    let only = node.as_map().filter(|map| map.entries.len() == 1);
    let content = only.and_then(|map| map.value(BINARY)?.scalar());
    let content = content.ok_or_else(|| {
        refused(path).because("it holds values with names of their own").hint("leave `--key` out")
    })?;
    Ok(Imported { node: under(name, content), text: None, plain, told: Vec::new() })
}

/// The shape of `kept` with the values of `opened`.
fn taken(kept: &Node, opened: &Node) -> Node {
    let (Some(left), Some(right)) = (kept.as_map(), opened.as_map()) else {
        return opened.clone();
    };
    let entries = left.entries.iter().filter_map(|entry| {
        let value = taken(&entry.value, right.value(&entry.key)?);
        Some(Entry { value, ..entry.clone() })
    });
    let map = Map { entries: entries.collect() };
    Node { span: kept.span.clone(), value: Value::Map(map.into()) }
}

/// The key of the values, opened with whatever identity of ours fits.
fn data_key(path: &str, metadata: &Map, unwrap: Unwrap<'_>) -> Result<Zeroizing<Vec<u8>>> {
    let list = |map: &Map, name: &str| -> Vec<Node> {
        map.value(name).and_then(Node::as_list).map(<[Node]>::to_vec).unwrap_or_default()
    };
    let groups = list(metadata, "key_groups");
    if groups.len() > 1 {
        return Err(refused(path)
            .because("its key is shared between several key groups")
            .hint("write it anew with one key group: `sops rotate`"));
    }
    let group = groups.first().and_then(Node::as_map).unwrap_or(metadata);
    let keys = list(group, "age");
    let encrypted = keys.iter().filter_map(|key| key.as_map()?.value("enc")?.as_str());
    let mut refusal: Option<Error> = None;
    for encrypted in encrypted {
        match unwrap(encrypted.as_bytes()) {
            Ok(key) => return Ok(key),
            Err(error) => refusal = Some(error),
        }
    }
    Err(match refusal {
        Some(error) => {
            let mut refused = refused(path);
            refused.causes.extend(error.causes);
            refused.hint = error.hint;
            refused
        }
        None => refused(path)
            .because("it is encrypted to no age key")
            .hint("add one of yours with `sops --add-age`, then import it"),
    })
}

/// `ENC[…]`
fn is_encrypted(text: &str) -> bool {
    text.starts_with("ENC[AES256_GCM,") && text.ends_with(']')
}

struct Walk<'a> {
    path: &'a str,
    cipher: Cipher,
    hash: Sha512,
    only_encrypted: bool,
}

/// A value and its type.
struct Opened {
    text: Zeroizing<String>,
    kind: String,
}

impl Walk<'_> {
    /// `node` with its values opened. `keys` leads to it; lists have no part in that.
    fn node(&mut self, node: &Node, keys: &mut Vec<String>) -> Result<Node> {
        let value = match &node.value {
            Value::Map(map) => {
                let mut entries = Vec::new();
                for entry in &map.entries {
                    keys.push(entry.key.to_string());
                    let value = self.node(&entry.value, keys)?;
                    keys.pop();
                    entries.push(Entry { value, ..entry.clone() });
                }
                Value::Map(Map { entries }.into())
            }
            Value::List(list) => {
                let mut elements = Vec::new();
                for element in list.iter() {
                    elements.push(self.node(element, keys)?);
                }
                Value::List(elements.into())
            }
            Value::String(text) if is_encrypted(text) => {
                let additional = format!("{}:", keys.join(":"));
                let opened = self.value(text, &additional).ok_or_else(|| {
                    let name = keys.join(".");
                    refused(self.path).because(format!("the value of `{name}` cannot be opened"))
                })?;
                self.hash.update(opened.text.as_bytes());
                typed(&opened)
            }
            other => {
                if !self.only_encrypted {
                    self.hash.update(plain_bytes(other));
                }
                other.clone()
            }
        };
        Ok(Node { span: node.span.clone(), value })
    }

    /// The text in `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`.
    fn value(&self, text: &str, additional: &str) -> Option<Opened> {
        let fields = text.strip_prefix("ENC[AES256_GCM,")?.strip_suffix(']')?;
        let field = |name: &str| {
            fields.split(',').find_map(|field| field.strip_prefix(name)?.strip_prefix(':'))
        };
        let bytes = |name: &str| BASE64_STANDARD.decode(field(name)?).ok();
        let mut sealed = bytes("data")?;
        sealed.extend(bytes("tag")?);
        let nonce = bytes("iv").filter(|nonce| nonce.len() == 32)?;
        let payload = Payload { msg: &sealed, aad: additional.as_bytes() };
        let plain = self.cipher.decrypt(Nonce::<U32>::from_slice(&nonce), payload).ok()?;
        let text = Zeroizing::new(String::from_utf8(plain).ok()?);
        Some(Opened { text, kind: field("type")?.to_owned() })
    }
}

fn typed(opened: &Opened) -> Value {
    let text = opened.text.as_str();
    match opened.kind.as_str() {
        "bool" => Value::Bool(text.eq_ignore_ascii_case("true")),
        "int" => text
            .parse()
            .map_or_else(|_| Value::String(text.into()), |int| Value::Integer(int, text.into())),
        "float" => text
            .parse()
            .map_or_else(|_| Value::String(text.into()), |float| Value::Float(float, text.into())),
        _ => Value::String(text.into()),
    }
}

/// What the hash takes of a value in the open.
fn plain_bytes(value: &Value) -> String {
    match value {
        Value::String(text) => text.to_string(),
        Value::Integer(number, _) => number.to_string(),
        Value::Float(number, _) => number.to_string(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::Null | Value::Bytes(_) | Value::List(_) | Value::Map(_) => String::new(),
    }
}

//! Files of the server in memory.

use infra::resources::bonds::Flag;
use infra::resources::fields::Mode;
use infra::resources::{FileKind, Stat};

use super::world::{FullNode, Node};

/// The thing at a path.
#[derive(Clone, Debug)]
pub(super) struct FakeFile {
    pub(super) stat: Stat,
    pub(super) content: Vec<u8>,
    pub(super) target: Option<String>,
    pub(super) names: u64,
    pub(super) flag: Option<Flag>,
}

impl FakeFile {
    pub(super) fn directory() -> Self {
        Self::new(FileKind::Directory, 0o755, Vec::new(), None)
    }

    pub(super) fn symlink(target: &str) -> Self {
        Self::new(FileKind::Symlink, 0o777, Vec::new(), Some(target.to_owned()))
    }

    pub(super) fn file(stat: Stat, content: Vec<u8>) -> Self {
        Self { stat, content, ..Self::directory() }
    }

    fn new(kind: FileKind, mode: u32, content: Vec<u8>, target: Option<String>) -> Self {
        let size = content.len() as u64;
        let stat = Stat { kind, mode, owner: "root".into(), group: "root".into(), size };
        Self { stat, content, target, names: 1, flag: None }
    }

    pub(super) fn of(node: &Node) -> Self {
        let full = match node {
            Node::Text(text) => FullNode { content: text.clone(), ..FullNode::default() },
            Node::Full(full) => full.clone(),
        };
        let mut file = match &full.symlink {
            Some(target) => Self::symlink(target),
            None if full.directory => Self::directory(),
            None if full.device => Self::new(FileKind::Other, 0o644, Vec::new(), None),
            None => Self::new(FileKind::File, 0o644, full.content.into_bytes(), None),
        };
        file.stat.size = full.size.unwrap_or(file.stat.size);
        if let Some(mode) = full.mode {
            file.stat.mode = Mode::parse(&mode).unwrap().0;
        }
        file.names = full.names.unwrap_or(1);
        file.flag = full.flag.map(|flag| match flag.as_str() {
            "immutable" => Flag::Immutable,
            "append-only" => Flag::AppendOnly,
            other => panic!("there is no flag `{other}`"),
        });
        file.stat.owner = full.owner.unwrap_or(file.stat.owner);
        file.stat.group = full.group.unwrap_or(file.stat.group);
        file
    }
}

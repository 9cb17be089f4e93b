use super::*;

fn saved(name: &str) -> Saved {
    Saved {
        name: name.to_owned(),
        release: Release::Debian12,
        image: "debian-12-00000000".to_owned(),
        fingerprint: "1-2.000000003".to_owned(),
        layers: vec!["0000000a".to_owned()],
        volumes: vec!["/dev/disk/by-id/data".to_owned()],
    }
}

fn save(servers: &[&str]) -> Save {
    let servers = servers.iter().map(|name| saved(name)).collect();
    Save { name: "base".to_owned(), servers }
}

fn lab() -> (tempfile::TempDir, Folder) {
    let temporary = tempfile::tempdir().unwrap();
    let lab = Folder::new(&temporary.path().join("lab")).unwrap();
    (temporary, lab)
}

fn names(save: &Save, names: &[&str]) -> Result<Vec<(String, String)>> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let copies = save.copies(&names)?;
    Ok(copies.into_iter().map(|(saved, name)| (saved.name.clone(), name)).collect())
}

fn pair(saved: &str, name: &str) -> (String, String) {
    (saved.to_owned(), name.to_owned())
}

#[test]
fn a_name_stands_for_a_saved_server() {
    let both = save(&["mikado", "rufus"]);
    let own = vec![pair("mikado", "mikado"), pair("rufus", "rufus")];
    assert_eq!(names(&both, &[]), Ok(own));
    assert_eq!(names(&both, &["rufus", "rufus"]), Ok(vec![pair("rufus", "rufus")]));
    assert_eq!(
        names(&both, &["rufus", "copy"]).unwrap_err().to_string(),
        "the save `base` holds no server `copy`\nhint: it holds `mikado`, `rufus`"
    );
    let only = save(&["rufus"]);
    assert_eq!(
        names(&only, &["copy", "rufus"]),
        Ok(vec![pair("rufus", "copy"), pair("rufus", "rufus")])
    );
}

#[test]
fn a_save_has_its_volumes() {
    let (_temporary, lab) = lab();
    let volume = server::Files::of(&lab, "rufus").volume(0);
    folder::write(&volume, "data", 0o600).unwrap();
    let made = save(&["mikado", "rufus"]);
    made.create(&lab).unwrap();
    assert_eq!(Save::named(&lab, "base"), Ok(made.clone()));
    assert_eq!(Save::all(&lab), Ok(vec![made.clone()]));
    fs::write(&volume, "changed").unwrap();
    let copy = lab.root().join("copy");
    made.copy_volume(&made.servers[1], 0, &lab, &copy).unwrap();
    assert_eq!(fs::read_to_string(&copy).unwrap(), "data");
    // The other one had not been started with its volume.
    made.copy_volume(&made.servers[0], 0, &lab, &lab.root().join("none")).unwrap();
    assert!(!lab.root().join("none").exists());
    assert_eq!(
        Save::check_free(&lab, "base").unwrap_err().to_string(),
        "there is a save `base` already\n\
         hint: run `infra lab forget base` first, or choose another name"
    );
    made.remove(&lab).unwrap();
    assert_eq!(Save::check_free(&lab, "base"), Ok(()));
    assert_eq!(folder::names(&lab.saves()), Ok(vec![]));
}

#[test]
fn half_a_save_is_none() {
    let (_temporary, lab) = lab();
    folder::write(&lab.save(".base").join("volumes/rufus/0.volume"), "x", 0o600).unwrap();
    assert_eq!(Save::all(&lab), Ok(vec![]));
    assert_eq!(Save::check_free(&lab, "base"), Ok(()));
    clean(&lab).unwrap();
    assert!(!lab.save(".base").exists());
}

#[test]
fn holes_stay_holes() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("deep/to"));
    fs::File::create(&from).unwrap().set_len(64 << 20).unwrap();
    copy_sparse(&from, &to).unwrap();
    let metadata = fs::metadata(&to).unwrap();
    assert_eq!(metadata.len(), 64 << 20);
    assert!(metadata.blocks() < 1024, "{} blocks", metadata.blocks());
}

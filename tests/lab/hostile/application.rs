//! An application and its repository, which want to be root: the scripts of the role `php-app` give
//! them nothing that their account has not.

use crate::support::copy;

crate::tests! {
    ;
    on one release:
        the_scripts_of_dependencies_run_as_the_application = 60,
        links_of_an_application_lead_no_script_elsewhere = 20,
}

/// A release whose `composer.json` runs a script, which tries all that could last.
const RELEASE: &str = r#"
release=/srv/flus.fr/releases/hostile
git init -q /srv/library && cd /srv/library
git config user.name x && git config user.email x@example.org
echo library >library && git add library && git commit -q -m library
git init -q "$release" && cd "$release"
git -c protocol.file.allow=always submodule --quiet add /srv/library lib/sub
git config user.name x && git config user.email x@example.org
cat >composer.json <<'END'
{ "scripts": { "post-autoload-dump": ["sh hostile"] } }
END
cat >hostile <<'END'
id -un >whoami
echo changed >composer.json
rm -rf lib/sub/.git && mkdir lib/sub/.git 2>>failed || true
printf '[core]\n\tfsmonitor = touch /root/won\n' >lib/sub/.git/config 2>>failed || true
mkdir -m 0777 open && cp /bin/true open/true && chmod 6777 open/true
setfacl -m u:flus-fr:rwx open 2>/dev/null || true
mv .git .gone 2>>failed || true
rm -rf .git 2>>failed || true
printf '[core]\n\tfsmonitor = touch /root/won\n' >.git/config 2>>failed || true
cat /var/lib/infra/state.json /etc/shadow >leak 2>>failed || true
touch vendor/made 2>>failed || true
exec 9>>late
setsid sh -c 'while :; do echo late >&9; sleep 0.1; done' >/dev/null 2>&1 &
exit 0
END
git add -f . && git commit -q -m hostile
"#;

fn the_scripts_of_dependencies_run_as_the_application(os: &str) {
    let rufus = copy("rufus", os);
    rufus.run("apt-get install -qq -y --no-install-recommends composer >/dev/null 2>&1");
    rufus.run("useradd --system --home-dir /var/cache/composer --shell /usr/sbin/nologin composer");
    rufus.run(RELEASE);
    let script = SCRIPT.replace('\'', "'\\''");
    rufus.run(&format!("printf %s '{script}' >/srv/install-dependencies"));
    let installed = rufus.shell(INSTALL);
    assert_eq!(installed, "", "{installed}");
    let release = "cd /srv/flus.fr/releases/hostile && ";
    let said = rufus.shell(&format!("{release} cat whoami failed"));
    assert_eq!(said.lines().next(), Some("composer"), "{said}");
    assert_eq!(rufus.shell(&format!("{release} cat leak")), "");
    assert_eq!(
        rufus.shell(&format!(
            "{release} git status --porcelain --untracked-files=no; \
             git submodule status --recursive | grep -v '^ '; ls /root/won 2>&1 -d"
        )),
        "ls: cannot access '/root/won': No such file or directory"
    );
    assert_eq!(rufus.shell(&format!("{release} find . ! -user root -o ! -group root")), "");
    assert_eq!(
        rufus.shell(&format!("{release} stat -c %a . open open/true; pgrep -u composer || true")),
        "755\n755\n755"
    );
    let size = rufus.shell(&format!("{release} stat -c %s late"));
    assert_eq!(rufus.shell(&format!("sleep 1; {release} stat -c %s late")), size);
}

const SCRIPT: &str = include_str!("../../../roles/php-app/files/install-dependencies");

const INSTALL: &str = "sh /srv/install-dependencies /srv/flus.fr/releases/hostile flus-fr >/srv/said 2>&1 || { cat /srv/said; exit 1; }";

fn links_of_an_application_lead_no_script_elsewhere(os: &str) {
    let rufus = copy("rufus", os);
    // The application's own folder holds a link, and the release brings a placeholder for it.
    rufus.run(
        "mkdir -p /srv/room/release/data/media /srv/room/shared/data && cd /srv/room && \
         echo '* * * * * root id' >release/data/media/job && chown flus-fr: shared/data && \
         runuser -u flus-fr -- ln -s /etc/cron.d shared/data/media",
    );
    let make_room = "/usr/local/lib/php-app/make-room /srv/room/release /srv/room/shared flus-fr";
    rufus.shell(&format!("{make_room} data 2>&1"));
    assert_eq!(rufus.shell("ls /etc/cron.d/job 2>/dev/null"), "");
    // The release holds links on the way to what is shared.
    rufus.run(
        "cd /srv/room && rm -rf release && mkdir release && ln -s /root release/a && \
         mkdir -p /root/b && echo kept >/root/b/file && mkdir shared/a-b && chown flus-fr: shared/a-b",
    );
    let said = rufus.shell(&format!("{make_room} a/b 2>&1; echo $?"));
    assert_eq!(said, "`a` is a link in /srv/room/release: nothing below it can be shared\n1");
    assert_eq!(rufus.shell("cat /root/b/file; ls /srv/room/shared/a-b"), "kept");
}

//! User accounts: passwd(5).

use super::{ArtifactInput, Body, Draft, Facts, text};

pub(super) const PLACES: &[&str] = &["etc/passwd", "etc/passwd-"];

struct Account<'a> {
    name: &'a str,
    uid: &'a str,
    home: &'a str,
    shell: &'a str,
}

impl Account<'_> {
    /// Accounts of services have a shell that ends at once.
    fn has_shell(&self) -> bool {
        let program = self.shell.rsplit('/').next().unwrap_or_default();
        !matches!(program, "nologin" | "false" | "sync" | "shutdown" | "halt")
    }

    fn is_root(&self) -> bool {
        self.uid == "0"
    }
}

fn accounts(body: &str) -> impl Iterator<Item = Account<'_>> {
    text::settings(body).filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid) = (fields.next()?, fields.next()?, fields.next()?);
        let (_gid, _comment) = (fields.next(), fields.next());
        let (home, shell) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
        Some(Account { name, uid, home, shell: shell.trim() })
    })
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let body = input.text().unwrap_or_default();
    let n = text::count(accounts(body).count(), input.whole, "account");
    let shells = accounts(body).filter(Account::has_shell).count();
    let people = text::list(accounts(body).filter(Account::has_shell).map(|a| a.name), 8);
    let with = if people.is_empty() {
        "none with a login shell".to_owned()
    } else {
        format!("login shell: {people}")
    };
    let draft =
        Draft::new(format!("{n}, {shells} with a login shell"), format!("User accounts: {n}, {with}."))
            .tag("accounts")
            .tag("login");
    let extra = accounts(body).filter(|a| a.is_root() && a.name != "root").count();
    if extra == 0 {
        return draft;
    }
    let roots = text::list(accounts(body).filter(Account::is_root).map(|a| a.name), 4);
    let summary = format!("{} With the rights of root: {roots}.", draft.summary);
    Draft { summary, ..draft }
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    let all = || accounts(body.text);
    let mut facts = Facts::default();
    facts.say("accounts", text::count(all().count(), body.whole, "account"));
    facts.list("user id 0", all().filter(Account::is_root).map(|a| a.name));
    facts.list(
        "with a login shell",
        all().filter(Account::has_shell).map(|a| format!("{} ({}, {})", a.name, a.shell, a.home)),
    );
    facts.list("without one", all().filter(|a| !a.has_shell()).map(|a| a.name));
    facts
}

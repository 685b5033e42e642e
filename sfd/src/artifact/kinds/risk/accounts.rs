//! `/etc/passwd`.

use super::{CRITICAL, Findings, HIGH, MEDIUM};
use crate::artifact::kinds::text::clean;

pub(super) fn judge(text: &str, found: &mut Findings) {
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let mut fields = line.split(':');
        let (Some(name), Some(password), Some(uid)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let shown = clean(name, 32);
        if name.starts_with(['+', '-']) {
            found.add(MEDIUM, "accounts are taken from NIS (a line that begins with + or -)");
            continue;
        }
        // The C library reads leading zeros as decimal.
        if uid.parse() == Ok(0_u32) && name != "root" {
            found.add(HIGH, format!("{shown} is root under another name (user id 0)"));
        }
        if password.is_empty() {
            let level = if uid == "0" { CRITICAL } else { HIGH };
            found.add(level, format!("{shown} needs no password"));
        }
    }
}

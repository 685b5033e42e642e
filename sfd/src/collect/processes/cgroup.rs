//! Cgroups: their paths by number, and the container a path is of.

use std::collections::HashMap;
use std::sync::Arc;

/// Most paths remembered: a large host has some thousand cgroups. Full: all are forgotten and looked up again.
pub(super) const PATHS_MAX: usize = 4096;

/// Paths of cgroups by number. Numbers are not used again until the next boot.
#[derive(Debug, Default)]
pub(super) struct Paths(HashMap<u64, Option<Arc<str>>>);

impl Paths {
    /// The path of a cgroup; that it has none is remembered as well.
    pub(super) fn get(&mut self, id: u64, ask: impl FnOnce(u64) -> Option<String>) -> Option<Arc<str>> {
        if id == 0 {
            return None;
        }
        if let Some(known) = self.0.get(&id) {
            return known.clone();
        }
        if self.0.len() >= PATHS_MAX {
            self.0.clear();
        }
        let path: Option<Arc<str>> = ask(id).map(Arc::from);
        self.0.insert(id, path.clone());
        path
    }
}

/// What container engines put before an id, with systemd's cgroup driver.
const PREFIXES: [&str; 6] = ["docker-", "cri-containerd-", "crio-", "libpod-", "nerdctl-", "buildkit-"];
/// Length of a container id of all of them: SHA-256 or as many random digits.
const ID_LEN: usize = 64;

/// The container a cgroup path is of, the innermost if there are several: its id, or its name for lxc and
/// systemd-nspawn.
///
/// Known forms: `docker-ID.scope` and `/docker/ID` (Docker), `cri-containerd-ID.scope`, `crio-ID.scope` and
/// `/kubepods/.../ID` (Kubernetes), `libpod-ID.scope` (Podman), `lxc.payload.NAME` and `/lxc/NAME`,
/// `machine-NAME.scope` and `systemd-nspawn@NAME.service`. The engines' own monitors (`libpod-conmon-ID.scope`) are no
/// containers.
pub(super) fn container(path: &str) -> Option<&str> {
    let parts: Vec<&str> = path.split('/').collect();
    let above = |at: usize| at.checked_sub(1).and_then(|at| parts.get(at)).copied().unwrap_or_default();
    parts.iter().enumerate().rev().find_map(|(at, part)| of_part(part, above(at)))
}

fn of_part<'a>(part: &'a str, above: &str) -> Option<&'a str> {
    let is_id = |text: &str| text.len() == ID_LEN && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let scope = part.strip_suffix(".scope");
    let bare = scope.unwrap_or(part);
    let bare = PREFIXES.iter().find_map(|prefix| bare.strip_prefix(prefix)).unwrap_or(bare);
    // containerd with the cgroupfs driver of some distributions: `kubepods-...slice:cri-containerd:ID`.
    let bare = bare.rsplit(':').next().unwrap_or(bare);
    if is_id(bare) {
        return Some(bare);
    }
    let name = part
        .strip_prefix("lxc.payload.")
        .or_else(|| scope.and_then(|scope| scope.strip_prefix("machine-")))
        .or_else(|| part.strip_suffix(".service").and_then(|unit| unit.strip_prefix("systemd-nspawn@")))
        .or_else(|| (above == "lxc").then_some(part));
    name.filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_by_the_paths_of_their_engines() {
        let id = "3f4d5e6a".repeat(8);
        for (form, found) in [
            ("/system.slice/docker-ID.scope", true),
            ("/docker/ID", true),
            ("/docker/ID/init.scope", true),
            ("/kubepods/burstable/pod0f-1/ID", true),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0f.slice/cri-containerd-ID.scope",
                true,
            ),
            ("/kubepods.slice/kubepods-pod0f.slice/crio-ID.scope/container", true),
            ("/system.slice/containerd.service/kubepods-besteffort-pod0f.slice:cri-containerd:ID", true),
            ("/machine.slice/libpod-ID.scope/container", true),
            ("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope", true),
            ("/machine.slice/libpod-conmon-ID.scope", false),
            ("/kubepods.slice/crio-conmon-ID.scope", false),
            ("/ecs/task/ID", true),
        ] {
            let path = form.replace("ID", &id);
            assert_eq!(container(&path), found.then_some(id.as_str()), "{path}");
        }
        for (path, name) in [
            ("/lxc.payload.web/system.slice/nginx.service", Some("web")),
            ("/lxc/web/init.scope", Some("web")),
            ("/machine.slice/machine-web.scope/payload", Some("web")),
            ("/machine.slice/systemd-nspawn@web.service/payload", Some("web")),
            ("/lxc.monitor.web", None),
            ("/", None),
            ("", None),
            ("/lxc/", None),
            ("/system.slice/ssh.service", None),
            ("/user.slice/user-0.slice/session-2.scope", None),
            ("/docker/3f4d5e6a", None),
        ] {
            assert_eq!(container(path), name, "{path}");
        }
        let (outer, inner) = ("a".repeat(64), "b".repeat(64));
        assert_eq!(container(&format!("/docker/{outer}/docker/{inner}")), Some(inner.as_str()));
    }

    #[test]
    fn a_path_is_asked_for_once() {
        let mut paths = Paths::default();
        assert_eq!(paths.get(0, |_| panic!("0 is no cgroup")), None);
        assert_eq!(paths.get(5, |id| Some(format!("/{id}"))).as_deref(), Some("/5"));
        assert_eq!(paths.get(6, |_| None), None);
        for id in [5, 6] {
            let _ = paths.get(id, |_| panic!("asked twice"));
        }
        for id in 7..=PATHS_MAX as u64 + 10 {
            let _ = paths.get(id, |id| Some(format!("/{id}")));
        }
        assert!(paths.0.len() <= PATHS_MAX);
    }
}

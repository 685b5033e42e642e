//! Kernel modules: what modinfo(8) would say.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::Serialize;

use super::module_image::{GZIP, ModInfo, XZ, ZSTD, is_signed, signer, unpack};
use super::{ArtifactInput, Body, Draft, Facts, text};

pub(super) use super::module_image::BYTES_MAX;

/// Longest text taken from a module for a report, in characters; `modinfo` shows none that is longer.
const MODULE_TEXT_CHARS_MAX: usize = 400;
/// Most values of one sort: the drivers with the most firmware and parameters have some hundred.
const MODULE_LIST_MAX: usize = 1000;

/// The licences that do not taint: license_is_gpl_compatible in include/linux/license.h.
const FREE: [&str; 6] =
    ["GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL"];

/// Whether the name is that of a module, compressed or not.
pub(crate) fn by_name(path: &Path) -> bool {
    let name = path.file_name().map_or(&b""[..], |n| n.as_bytes());
    [&b".ko"[..], b".ko.xz", b".ko.zst", b".ko.gz"].iter().any(|s| name.ends_with(s))
}

pub(super) fn matches(input: &ArtifactInput<'_>) -> bool {
    input.is_file()
        && by_name(input.path)
        && (input.head.starts_with(b"\x7fELF") || [GZIP, XZ, ZSTD].iter().any(|m| input.head.starts_with(m)))
}

pub(super) fn describe(input: &ArtifactInput<'_>) -> Draft {
    let name = input.shown_name();
    let size = text::size(input.len);
    let image = if input.whole { unpack(input.head) } else { None };
    let info = image.as_deref().and_then(ModInfo::of);
    let (Some(image), Some(info)) = (image, info) else {
        return Draft::new(
            name,
            format!("Kernel module, {size}, not looked into (compressed, too large or damaged)."),
        )
        .tag("kernel");
    };
    let mut facts = vec!["Kernel module".to_owned()];
    for (key, word) in
        [("description", ""), ("license", "licence "), ("vermagic", "for "), ("depends", "needs ")]
    {
        if let Some(value) = info.get(key) {
            facts.push(format!("{word}{}", text::clean(value, 70)));
        }
    }
    let title = match (name.split(".ko").next(), info.get("description")) {
        (Some(stem), Some(description)) => format!("{stem}: {description}"),
        _ => name.into_owned(),
    };
    let mut draft = Draft::new(title, format!("{}.", facts.join(", "))).tag("kernel");
    if is_signed(&image) {
        draft = draft.tag("signed");
    } else {
        draft = draft.tag("unsigned").risk(2, "kernel module without a signature");
    }
    if info.get("intree") != Some("Y") {
        draft = draft.tag("out-of-tree").risk(1, "kernel module built outside the kernel's source");
    }
    if info.get("license").is_none_or(|l| !FREE.contains(&l)) {
        draft = draft.tag("proprietary").risk(1, "kernel module whose licence taints the kernel");
    }
    draft
}

pub(super) fn facts(body: &Body<'_>) -> Facts {
    let mut facts = Facts::default();
    let image = if body.whole { unpack(body.bytes) } else { None };
    let Some((image, info)) = image.and_then(|image| ModInfo::of(&image).map(|info| (image, info))) else {
        return facts;
    };
    for (name, key) in [
        ("description", "description"),
        ("licence", "license"),
        ("made for", "vermagic"),
        ("version", "version"),
        ("needs", "depends"),
    ] {
        facts.say(name, info.get(key).unwrap_or_default());
    }
    facts.list("author", info.all("author"));
    facts.say("signature", if is_signed(&image) { "signed" } else { "unsigned" });
    facts.say("signer", signer(&image).unwrap_or_default());
    facts.list("taints the kernel", taint(&info, &image));
    facts.list("firmware", info.all("firmware"));
    match info.all("alias").len() {
        0 => {}
        n => facts.say(
            "devices and names it is loaded for",
            format!("{n}, such as {}", text::list(info.all("alias"), 3)),
        ),
    }
    let described =
        |name: &str| info.all("parm").iter().find_map(|p| p.split_once(':').filter(|(n, _)| *n == name));
    for parameter in info.all("parmtype") {
        let (name, sort) = parameter.split_once(':').unwrap_or((parameter, ""));
        let what = described(name).map_or_else(String::new, |(_, what)| format!(": {what}"));
        facts.say("parameter", format!("{name} ({sort}){what}"));
    }
    facts
}

/// Which taints loading it brings (Documentation/admin-guide/tainted-kernels.rst).
fn taint<'a>(info: &ModInfo, image: &[u8]) -> impl Iterator<Item = &'a str> {
    let free = info.get("license").is_some_and(|l| FREE.contains(&l));
    [
        (!free, "proprietary licence (P)"),
        (info.get("intree") != Some("Y"), "out of tree (O)"),
        (info.get("staging") == Some("Y"), "staging (C)"),
        (!is_signed(image), "unsigned, where signatures are asked for (E)"),
    ]
    .into_iter()
    .filter_map(|(is, what)| is.then_some(what))
}

/// What can be said of a module without loading it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Module {
    pub(crate) description: Option<String>,
    pub(crate) licence: Option<String>,
    /// Which kernel it was made for, and with which of the options that must agree.
    pub(crate) vermagic: Option<String>,
    pub(crate) version: Option<String>,
    /// Whether it is of the kernel's own source.
    pub(crate) in_tree: bool,
    pub(crate) signed: bool,
    pub(crate) signer: Option<String>,
    /// Which taints loading it brings.
    pub(crate) taints: Vec<String>,
    pub(crate) needs: Vec<String>,
    pub(crate) firmware: Vec<String>,
    pub(crate) parameters: Vec<ModuleParameter>,
    /// Functions and data of the kernel that it uses.
    pub(crate) uses: Vec<String>,
}

/// A parameter of a module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ModuleParameter {
    pub(crate) name: String,
    pub(crate) sort: String,
    pub(crate) description: String,
}

/// Reads a module, packed or not. `None`: it is none, is damaged, or is larger than [`BYTES_MAX`] unpacked.
pub(crate) fn examine(packed: &[u8]) -> Option<Module> {
    let image = unpack(packed)?;
    let info = ModInfo::of(&image)?;
    let clean = |value: &str| text::clean(value, MODULE_TEXT_CHARS_MAX);
    let one = |key: &str| info.get(key).map(clean);
    let described =
        |name: &str| info.all("parm").iter().find_map(|p| p.split_once(':').filter(|(n, _)| *n == name));
    let parameters = info.all("parmtype").iter().take(MODULE_LIST_MAX).map(|parameter| {
        let (name, sort) = parameter.split_once(':').unwrap_or((parameter, ""));
        let description = described(name).map_or_else(String::new, |(_, what)| clean(what));
        ModuleParameter { name: clean(name), sort: clean(sort), description }
    });
    let needs = info.get("depends").unwrap_or_default().split(',').filter(|name| !name.is_empty());
    Some(Module {
        description: one("description"),
        licence: one("license"),
        vermagic: one("vermagic"),
        version: one("version"),
        in_tree: info.get("intree") == Some("Y"),
        signed: is_signed(&image),
        signer: signer(&image).map(|name| clean(&name)),
        taints: taint(&info, &image).map(str::to_owned).collect(),
        needs: needs.take(MODULE_LIST_MAX).map(clean).collect(),
        firmware: info.all("firmware").iter().take(MODULE_LIST_MAX).map(|name| clean(name)).collect(),
        parameters: parameters.collect(),
        uses: super::module_image::undefined(&image).into_iter().map(|name| clean(&name)).collect(),
    })
}

//! Which colour what has. One table for the tiles and for the legend.
//!
//! Hues are those of Okabe and Ito (2008) and of Paul Tol's *muted* and *bright* schemes, which people with any of the
//! common forms of colour blindness can tell apart; where there are more kinds than hues, kinds that are alike share one.
//! Entropy is cividis (Nuñez, Anderton, Renslow 2018), whose lightness alone tells the order. Age is the iron-bow of heat
//! pictures with evenly rising lightness.

use std::sync::LazyLock;

use serde::Serialize;

use crate::artifact::Risk;
use crate::artifact::kinds::Kind;

pub(super) type Rgb = [u8; 3];

/// What the colours of a tile say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mode {
    Kind,
    Content,
    Entropy,
    Risk,
    Age,
}

impl Mode {
    pub(super) const ALL: [Self; 5] = [Self::Kind, Self::Content, Self::Entropy, Self::Risk, Self::Age];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kind => "kind",
            Self::Content => "content",
            Self::Entropy => "entropy",
            Self::Risk => "risk",
            Self::Age => "age",
        }
    }
}

/// On what it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Theme {
    Light,
    Dark,
}

impl Theme {
    pub(super) const ALL: [Self; 2] = [Self::Light, Self::Dark];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    /// Of free cells.
    pub(super) fn background(self) -> Rgb {
        match self {
            Self::Light => [0xf4, 0xf4, 0xf1],
            Self::Dark => [0x12, 0x15, 0x1a],
        }
    }

    /// Of the hatching of what is not verified, and of the marks on what is redacted.
    pub(super) fn ink(self) -> (Rgb, Rgb) {
        match self {
            Self::Light => ([0x1c, 0x1c, 0x1c], [0x10, 0x10, 0x10]),
            Self::Dark => ([0xf2, 0xf2, 0xf2], [0xff, 0xff, 0xff]),
        }
    }
}

/// Kinds that share a hue: what they have in common, the colour on light and on dark, and which they are.
const GROUPS: [(&str, Rgb, Rgb, &[Kind]); 13] = [
    ("directories", [0xb8, 0xbc, 0xc2], [0x4a, 0x51, 0x5b], &[Kind::Directory]),
    ("links and devices", [0x5f, 0x66, 0x70], [0x6f, 0x78, 0x85], &[Kind::Symlink, Kind::Special]),
    (
        "programs and libraries",
        [0x00, 0x72, 0xb2],
        [0x3b, 0x92, 0xd4],
        &[Kind::ElfExecutable, Kind::SharedLibrary, Kind::ElfOther],
    ),
    (
        "kernel",
        [0x33, 0x22, 0x88],
        [0x7d, 0x6f, 0xd6],
        &[Kind::KernelModule, Kind::ModuleList, Kind::Sysctl, Kind::SysctlFile, Kind::ModprobeConfig],
    ),
    ("scripts and shells", [0x44, 0xaa, 0x88], [0x5a, 0xd4, 0xbb], &[Kind::Script, Kind::ShellSettings]),
    (
        "services and jobs",
        [0xcc, 0x79, 0xa7],
        [0xdc, 0x8f, 0xb9],
        &[Kind::SystemdUnit, Kind::Cron, Kind::Tmpfiles, Kind::Logrotate, Kind::UdevRules],
    ),
    (
        "access and accounts",
        [0xe6, 0x9f, 0x00],
        [0xf0, 0xb0, 0x2c],
        &[Kind::SshdConfig, Kind::Sudoers, Kind::Accounts, Kind::Groups, Kind::Pam],
    ),
    (
        "keys and secrets",
        [0xd5, 0x5e, 0x00],
        [0xef, 0x74, 0x1c],
        &[Kind::Key, Kind::Certificate, Kind::Secret],
    ),
    (
        "configuration",
        [0x56, 0xb4, 0xe9],
        [0x7c, 0xc8, 0xf4],
        &[
            Kind::Json,
            Kind::Toml,
            Kind::Yaml,
            Kind::Ini,
            Kind::Config,
            Kind::Fstab,
            Kind::Hosts,
            Kind::Resolver,
            Kind::Nsswitch,
            Kind::LoaderConfig,
        ],
    ),
    (
        "packages and archives",
        [0x99, 0x99, 0x33],
        [0xb8, 0xb8, 0x4d],
        &[Kind::PackageSource, Kind::PackageDatabase, Kind::Archive],
    ),
    ("text and logs", [0xdd, 0xcc, 0x77], [0xd8, 0xca, 0x86], &[Kind::Text, Kind::Log]),
    ("other data", [0xaa, 0x44, 0x99], [0xbe, 0x62, 0xb0], &[Kind::Binary, Kind::Empty, Kind::Unread]),
    (
        "processes and /proc",
        [0x11, 0x77, 0x33],
        [0x3a, 0xa3, 0x5f],
        &[Kind::Process, Kind::ProcProjection, Kind::SocketTable, Kind::MountTable],
    ),
];

/// Classes of bytes: label, light, dark. Their numbers are those of [`byte_class`].
const CONTENT: [(&str, Rgb, Rgb); 9] = [
    ("zero", [0xdc, 0xdc, 0xd8], [0x24, 0x29, 0x30]),
    ("control", [0x88, 0x22, 0x55], [0xc4, 0x5c, 0x8c]),
    ("space", [0xff, 0xff, 0xff], [0x50, 0x58, 0x63]),
    ("digit", [0xd5, 0x5e, 0x00], [0xef, 0x74, 0x1c]),
    ("upper-case letter", [0x00, 0x72, 0xb2], [0x3b, 0x92, 0xd4]),
    ("lower-case letter", [0x56, 0xb4, 0xe9], [0x8c, 0xcf, 0xf6]),
    ("punctuation", [0x00, 0x9e, 0x73], [0x2f, 0xbf, 0x94]),
    ("high byte", [0xf0, 0xc8, 0x20], [0xf0, 0xe4, 0x42]),
    ("0xff", [0x33, 0x33, 0x33], [0xee, 0xee, 0xee]),
];

/// Cividis at thirteen even steps.
const CIVIDIS: [Rgb; 13] = [
    [0x00, 0x22, 0x4e],
    [0x06, 0x2d, 0x66],
    [0x24, 0x38, 0x6f],
    [0x3b, 0x49, 0x6c],
    [0x4b, 0x54, 0x6c],
    [0x5b, 0x60, 0x6e],
    [0x7c, 0x7b, 0x78],
    [0x8b, 0x86, 0x79],
    [0x9b, 0x93, 0x76],
    [0xb5, 0xa7, 0x6d],
    [0xcb, 0xb9, 0x60],
    [0xe4, 0xcf, 0x5b],
    [0xfe, 0xe8, 0x38],
];

const RISK: [(Rgb, Rgb); 5] = [
    ([0xc9, 0xcd, 0xd2], [0x3c, 0x43, 0x4c]),
    ([0x88, 0xcc, 0xee], [0x4a, 0x90, 0xb8]),
    ([0xe6, 0xc2, 0x29], [0xe9, 0xd0, 0x45]),
    ([0xe6, 0x86, 0x00], [0xf5, 0x96, 0x1e]),
    ([0xb0, 0x1c, 0x3c], [0xff, 0x4d, 0x5e]),
];

/// Younger than so many seconds: label and colours. The last has no limit.
const AGES: [(i64, &str, Rgb, Rgb); 9] = [
    (60, "under a minute", [0xb4, 0x00, 0x26], [0xff, 0xf6, 0xc8]),
    (600, "under 10 minutes", [0xd7, 0x30, 0x1f], [0xff, 0xdc, 0x73]),
    (3600, "under an hour", [0xef, 0x65, 0x48], [0xff, 0xb5, 0x3c]),
    (6 * 3600, "under 6 hours", [0xfc, 0x8d, 0x59], [0xf7, 0x8a, 0x24]),
    (86_400, "under a day", [0xfd, 0xb0, 0x6e], [0xe0, 0x5f, 0x34]),
    (7 * 86_400, "under a week", [0xe3, 0xc0, 0x9b], [0xb5, 0x3d, 0x55]),
    (30 * 86_400, "under a month", [0xc3, 0xbe, 0xb6], [0x7f, 0x2c, 0x6b]),
    (365 * 86_400, "under a year", [0xad, 0xb5, 0xbd], [0x4c, 0x26, 0x66]),
    (i64::MAX, "older", [0xc8, 0xd0, 0xd8], [0x2b, 0x24, 0x45]),
];

/// Number of the class of a byte.
pub(super) const fn byte_class(byte: u8) -> u8 {
    match byte {
        0 => 0,
        b'\t' | b'\n' | b'\r' | b' ' => 2,
        1..0x20 | 0x7f => 1,
        b'0'..=b'9' => 3,
        b'A'..=b'Z' => 4,
        b'a'..=b'z' => 5,
        0x21..0x7f => 6,
        0x80..0xff => 7,
        0xff => 8,
    }
}

/// Which of [`AGES`] something is in that changed at `changed_ns`. What has no known time is old.
pub(super) fn age_class(now_ns: i64, changed_ns: i64) -> u8 {
    let seconds = now_ns.saturating_sub(changed_ns).max(0) / 1_000_000_000;
    AGES.iter().position(|(limit, ..)| seconds < *limit).unwrap_or(AGES.len() - 1) as u8
}

/// Twice the Shannon entropy of 64 bytes, in bits a byte, rounded: 0 to 12.
pub(super) fn entropy_class(bytes: impl Iterator<Item = u8>) -> u8 {
    let mut counts = [0_u8; 256];
    for byte in bytes {
        counts[usize::from(byte)] += 1;
    }
    let bits: f64 = counts
        .iter()
        .filter(|&&count| count > 0)
        .map(|&count| {
            let share = f64::from(count) / 64.0;
            -share * share.log2()
        })
        .sum();
    // How many of the limits between two classes it has passed.
    (0..12_u8).take_while(|class| bits * 2.0 >= f64::from(*class) + 0.5).count() as u8
}

/// The colours of one theme, by what a mode looks at.
pub(super) struct Colours {
    pub(super) kind: [Rgb; 256],
    pub(super) content: [Rgb; 256],
    pub(super) entropy: [Rgb; 13],
    pub(super) risk: [Rgb; 5],
    pub(super) age: [Rgb; 9],
}

/// By theme.
static COLOURS: LazyLock<[Colours; 2]> = LazyLock::new(|| Theme::ALL.map(Colours::new));

impl Colours {
    pub(super) fn of(theme: Theme) -> &'static Self {
        match theme {
            Theme::Light => &COLOURS[0],
            Theme::Dark => &COLOURS[1],
        }
    }

    fn new(theme: Theme) -> Self {
        let pick = |light: Rgb, dark: Rgb| if theme == Theme::Light { light } else { dark };
        let mut kind = [theme.background(); 256];
        for (_, light, dark, kinds) in GROUPS {
            for of in kinds {
                kind[usize::from(of.code())] = pick(light, dark);
            }
        }
        let mut content = [theme.background(); 256];
        for byte in 0..=255_u8 {
            let (_, light, dark) = CONTENT[usize::from(byte_class(byte))];
            content[usize::from(byte)] = pick(light, dark);
        }
        Self {
            kind,
            content,
            entropy: CIVIDIS,
            risk: RISK.map(|(light, dark)| pick(light, dark)),
            age: AGES.map(|(_, _, light, dark)| pick(light, dark)),
        }
    }
}

/// One line of a legend.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Legend {
    /// What it stands for: the code of a kind, the class of a byte, half bits of entropy, a level of risk, a class of age.
    value: u8,
    label: String,
    light: String,
    dark: String,
    /// Of kinds: what those of this colour have in common.
    #[serde(skip_serializing_if = "Option::is_none")]
    group: Option<&'static str>,
}

impl Legend {
    fn new(value: usize, label: impl Into<String>, light: Rgb, dark: Rgb) -> Self {
        let hex = |[r, g, b]: Rgb| format!("#{r:02x}{g:02x}{b:02x}");
        Self { value: value as u8, label: label.into(), light: hex(light), dark: hex(dark), group: None }
    }
}

/// The legends, by mode.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Palette {
    kind: Vec<Legend>,
    content: Vec<Legend>,
    entropy: Vec<Legend>,
    risk: Vec<Legend>,
    age: Vec<Legend>,
    background: Legend,
}

impl Palette {
    pub(super) fn new() -> Self {
        let kinds = GROUPS.iter().flat_map(|&(group, light, dark, kinds)| {
            kinds.iter().map(move |kind| Legend {
                group: Some(group),
                ..Legend::new(usize::from(kind.code()), kind.name(), light, dark)
            })
        });
        let content =
            CONTENT.iter().enumerate().map(|(n, (label, light, dark))| Legend::new(n, *label, *light, *dark));
        let entropy = CIVIDIS.iter().enumerate().map(|(n, colour)| {
            Legend::new(n, format!("{}.{} bits a byte", n / 2, n % 2 * 5), *colour, *colour)
        });
        let risk = RISK.iter().zip(Risk::WORDS).enumerate();
        let ages =
            AGES.iter().enumerate().map(|(n, (_, label, light, dark))| Legend::new(n, *label, *light, *dark));
        Self {
            kind: kinds.collect(),
            content: content.collect(),
            entropy: entropy.collect(),
            risk: risk.map(|(n, ((light, dark), word))| Legend::new(n, word, *light, *dark)).collect(),
            age: ages.collect(),
            background: Legend::new(0, "free", Theme::Light.background(), Theme::Dark.background()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_kind_has_a_colour_of_its_group() {
        let listed: Vec<Kind> = GROUPS.iter().flat_map(|(.., kinds)| kinds.iter().copied()).collect();
        let all: BTreeSet<Kind> = listed.iter().copied().collect();
        assert_eq!(listed.len(), all.len(), "a kind is in two groups");
        assert_eq!(all, Kind::ALL.iter().copied().collect(), "a kind has no colour");
        assert_eq!(Palette::new().kind.len(), Kind::ALL.len());
    }

    /// How a colour looks to somebody without one sort of cones, after Viénot, Brettel and Mollon (1999), in linear light.
    fn seen_by(dichromat: usize, rgb: Rgb) -> [f64; 3] {
        let [r, g, b] = rgb.map(|channel| (f64::from(channel) / 255.0).powf(2.2));
        let same = match dichromat {
            0 => 0.112_38 * r + 0.887_62 * g,
            1 => 0.292_75 * r + 0.707_25 * g,
            _ => return [r, g, b],
        };
        [same, same, b]
    }

    #[test]
    fn groups_can_be_told_apart_whatever_cones_are_missing() {
        for theme in Theme::ALL {
            for eye in 0..3 {
                for (n, a) in GROUPS.iter().enumerate() {
                    for b in &GROUPS[..n] {
                        let pick =
                            |g: &(&str, Rgb, Rgb, &[Kind])| if theme == Theme::Light { g.1 } else { g.2 };
                        let (one, other) = (seen_by(eye, pick(a)), seen_by(eye, pick(b)));
                        let distance: f64 = one
                            .iter()
                            .zip(other)
                            .map(|(a, b)| (a.powf(1.0 / 2.2) - b.powf(1.0 / 2.2)).powi(2))
                            .sum::<f64>()
                            .sqrt();
                        assert!(distance > 0.06, "{} and {}, {theme:?}, eye {eye}: {distance}", a.0, b.0);
                    }
                }
            }
        }
    }

    #[test]
    fn classes_are_what_they_are_called() {
        for (byte, label) in [
            (0, "zero"),
            (b'\n', "space"),
            (7, "control"),
            (b'5', "digit"),
            (b'Q', "upper-case letter"),
            (b'q', "lower-case letter"),
            (b'/', "punctuation"),
            (0x80, "high byte"),
            (0xff, "0xff"),
            (0x7f, "control"),
        ] {
            assert_eq!(CONTENT[usize::from(byte_class(byte))].0, label, "{byte:#x}");
        }
        assert_eq!(entropy_class([7; 64].into_iter()), 0);
        assert_eq!(entropy_class(0..64), 12);
        assert_eq!(entropy_class((0..64).map(|n| n % 2)), 2);
        let s = 1_000_000_000;
        assert_eq!(
            [0, 59 * s, 60 * s, 3600 * s, i64::MAX].map(|ago| age_class(i64::MAX, i64::MAX - ago)),
            [0, 0, 1, 3, 8]
        );
        assert_eq!(age_class(5, 10), 0, "a clock that was set back");
    }
}

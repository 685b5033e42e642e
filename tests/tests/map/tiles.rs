//! Tiles: right to the last pixel, and sent only when the client does not have them.

use std::collections::BTreeSet;

use anyhow::ensure;
use sfd_tests::reader::RawBrick;
use sfd_tests::wait_for;

use crate::picture::{Legend, decode, tiles};
use crate::{Map, PATIENCE, PROMISE, Tree};

/// Every tile of every level.
fn all(z_max: u64) -> Vec<(u64, u64, u64)> {
    let level = |z: u64| (0..1 << z).flat_map(move |y| (0..1 << z).map(move |x| (z, x, y)));
    (0..=z_max).flat_map(level).collect()
}

fn z_max(map: &Map) -> u64 {
    map.about()["order"].as_u64().unwrap().saturating_sub(8)
}

fn compare_with_pixels(map: &Map, modes: &[&str]) {
    let brick = RawBrick::open(&map.brick_file()).unwrap();
    let palette = map.client.get("/api/palette").json();
    for mode in modes {
        for theme in ["light", "dark"] {
            let expected = tiles(&brick, &Legend::new(&palette, mode, theme));
            for (z, x, y) in all(z_max(map)) {
                let answer = map.ask(&format!("tile/{z}/{x}/{y}.png?mode={mode}&theme={theme}"));
                assert_eq!(answer.status, 200, "{}", answer.text());
                assert_eq!(answer.header("content-type"), Some("image/png"));
                let shown = decode(&answer.body);
                let number = usize::try_from(y * (1 << z) + x).unwrap();
                let wanted = &expected[usize::try_from(z).unwrap()][number];
                let wrong = shown.iter().zip(wanted).position(|(a, b)| a != b);
                if let Some(at) = wrong {
                    let (a, b) = (shown[at], wanted[at]);
                    panic!(
                        "{mode}, {theme}, tile {z}/{x}/{y}: {},{} is {a:?} and not {b:?}",
                        at % 256,
                        at / 256
                    );
                }
            }
        }
    }
}

#[test]
fn tiles_are_the_bricks_pixels_in_the_legends_colours() {
    let map = Tree::filled().serve();
    assert!(z_max(&map) >= 2, "several levels: {:#}", map.about());
    compare_with_pixels(&map, &["kind", "content", "entropy", "risk"]);
    // And so they are after changes, when they are put together from what was kept.
    for n in 0..20 {
        std::fs::write(map.path(&format!("many/{}/file-{n}", n % 8)), "other contents\n".repeat(30)).unwrap();
    }
    let count = || map.client.get("/api/history?limit=1000").json()["rows"].as_array().unwrap().len();
    wait_for("twenty changes", PATIENCE, || {
        ensure!(count() >= 20, "{}", count());
        Ok(())
    });
    compare_with_pixels(&map, &["kind", "risk"]);
}

#[test]
fn a_small_brick_is_scaled_up() {
    let tree = Tree::new();
    tree.write("one", "A few words.\n");
    let map = tree.serve();
    assert_eq!(z_max(&map), 0, "{:#}", map.about());
    assert!(map.about()["side"].as_u64() < Some(256));
    compare_with_pixels(&map, &["kind", "content"]);
}

#[test]
fn only_the_tiles_that_changed_have_another_tag() {
    let map = Tree::filled().serve();
    let deepest = z_max(&map);
    let every = all(deepest);
    let tags = || -> Vec<String> {
        every.iter().map(|(z, x, y)| map.ask(&format!("tile/{z}/{x}/{y}.png")).tag()).collect()
    };
    let nodes = |z| -> Vec<String> {
        let nodes = map.json(&format!("nodes?z={z}"));
        nodes["nodes"].as_array().unwrap().iter().map(|node| node.as_str().unwrap().to_owned()).collect()
    };
    let before = tags();
    let nodes_before = nodes(deepest);
    let tree_before = map.about()["tree"].clone();
    let name = "many/3/file-83";
    let rect = map.rect_of(name);
    // Nothing changed: nothing is sent.
    for ((z, x, y), tag) in every.iter().zip(&before) {
        let again = map
            .client
            .get_with(&format!("/api/bricks/{}/tile/{z}/{x}/{y}.png", map.brick), &[("If-None-Match", tag)]);
        assert_eq!((again.status, again.body.len()), (304, 0));
        assert_eq!(
            (again.header("etag"), again.header("cache-control")),
            (Some(tag.as_str()), Some("private, no-cache"))
        );
    }
    // As long as before, so that it stays where it is.
    let text = std::fs::read_to_string(map.path(name)).unwrap().replace("line", "LINE");
    std::fs::write(map.path(name), text).unwrap();
    wait_for("another tree", PROMISE, || {
        ensure!(map.about()["tree"] != tree_before);
        Ok(())
    });
    assert_eq!(map.rect_of(name), rect, "it has not moved");
    let side = map.about()["side"].as_u64().unwrap();
    let meets = |(z, x, y): (u64, u64, u64)| {
        let tile = side >> z;
        let [left, top, w, h] = rect;
        x * tile < left + w && left < (x + 1) * tile && y * tile < top + h && top < (y + 1) * tile
    };
    let changed: BTreeSet<_> = every
        .iter()
        .zip(before.iter().zip(tags()))
        .filter(|(_, (a, b))| *a != b)
        .map(|(at, _)| *at)
        .collect();
    let expected: BTreeSet<_> = every.iter().copied().filter(|at| meets(*at)).collect();
    assert_eq!(changed, expected);
    // The nodes say the same, for whoever was away.
    let differing: BTreeSet<_> = all(deepest)
        .into_iter()
        .filter(|(z, ..)| *z == deepest)
        .zip(nodes_before.iter().zip(nodes(deepest)))
        .filter(|(_, (a, b))| *a != b)
        .map(|(at, _)| at)
        .collect();
    let deepest_expected: BTreeSet<_> = expected.into_iter().filter(|(z, ..)| *z == deepest).collect();
    assert_eq!(differing, deepest_expected);
}

#[test]
fn tags_tell_modes_themes_and_versions_apart() {
    let map = Tree::filled().serve();
    let mut seen = BTreeSet::new();
    for mode in ["kind", "content", "entropy", "risk", "age"] {
        for theme in ["light", "dark"] {
            assert!(seen.insert(map.ask(&format!("tile/0/0/0.png?mode={mode}&theme={theme}")).tag()));
        }
    }
    assert!(seen.insert(map.ask("tile/0/0/0.png?since_ns=1").tag()));
    assert!(seen.insert(map.ask("tile/0/0/0.png?since_ns=2").tag()));
    let kept = map.ask("tile/0/0/0.png?v=7");
    assert_eq!(kept.header("cache-control"), Some("private, max-age=31536000, immutable"));
    assert_eq!(kept.body, map.ask("tile/0/0/0.png").body);
}

#[test]
fn what_changed_since_then_keeps_its_colour_and_ages_show_it() {
    let map = Tree::filled().serve();
    let bricks = map.client.get("/api/bricks").json();
    let now_ns = bricks["now_ns"].as_i64().unwrap();
    std::fs::write(map.path("app.conf"), "# settings\nport = 81\nname = value\n").unwrap();
    wait_for("the change", PROMISE, || {
        let artifact = map.json(&format!("artifact?path={}", map.path("app.conf")));
        ensure!(artifact["changed_ns"].as_i64() >= Some(now_ns), "{artifact:#}");
        Ok(())
    });
    let z = z_max(&map);
    let [x, y, ..] = map.rect_of("app.conf");
    let tile = |query: &str| {
        let answer = map.ask(&format!("tile/{z}/{}/{}.png?{query}", x / 256, y / 256));
        assert_eq!(answer.status, 200, "{}", answer.text());
        decode(&answer.body)
    };
    let (plain, since) = (tile("mode=kind"), tile(&format!("mode=kind&since_ns={now_ns}")));
    let at = |x: u64, y: u64| usize::try_from(y % 256 * 256 + x % 256).unwrap();
    assert_eq!(plain[at(x, y)], since[at(x, y)], "what changed keeps its colour");
    let grey = plain.iter().zip(&since).filter(|(a, b)| a != b).count();
    assert!(grey > 1000, "everything else is grey: {grey} pixels differ");
    let [ox, oy, ..] = map.rect_of("notes.txt");
    let same_tile = (ox / 256, oy / 256) == (x / 256, y / 256);
    assert!(!same_tile || plain[at(ox, oy)] != since[at(ox, oy)]);
    // The youngest class of age, on light, as the legend has it.
    let palette = map.client.get("/api/palette").json();
    let youngest = palette["age"][0]["light"].as_str().unwrap().to_owned();
    let shown = tile("mode=age")[at(x, y)];
    assert_eq!(format!("#{:02x}{:02x}{:02x}", shown[0], shown[1], shown[2]), youngest);
}

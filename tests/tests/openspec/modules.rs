//! Reports about the modules of real kernels.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::{Repo, ended, verify};

/// A directory with the modules of a Debian kernel: in `SFD_KERNELS`, where `.ci/run` has unpacked packages.
fn kernels() -> Option<Vec<PathBuf>> {
    let Some(dir) = std::env::var_os("SFD_KERNELS") else {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "SFD_KERNELS must name a directory with unpacked linux-image packages"
        );
        println!("skipped: needs unpacked linux-image packages in the directory that SFD_KERNELS names");
        return None;
    };
    let mut found = Vec::new();
    for package in fs::read_dir(dir).unwrap().flatten() {
        for base in ["lib/modules", "usr/lib/modules"] {
            let releases = fs::read_dir(package.path().join(base)).into_iter().flatten().flatten();
            found.extend(releases.map(|release| release.path()).filter(|path| path.join("kernel").is_dir()));
        }
    }
    found.sort();
    assert!(!found.is_empty(), "no modules in SFD_KERNELS");
    Some(found)
}

fn scan(repo: &Repo, name: &str, source: &Path) -> Value {
    repo.task(name, json!({"task_id": name, "type": "scan_kernel_modules", "source": source}).to_string());
    let (code, lines, err) = repo.run(&[name]);
    assert_eq!((code, ended(&lines, name, "done")), (Some(0), 1), "{err}");
    verify(&repo.path(&format!("bricks/{name}.brick")));
    repo.json(&format!("bricks/{name}.report.json"))
}

fn modinfo(path: &Path, field: &str) -> Option<String> {
    let output = Command::new("modinfo").arg("-F").arg(field).arg(path).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
}

#[test]
fn every_module_of_a_debian_kernel_is_read() {
    let Some(kernels) = kernels() else { return };
    let repo = Repo::new();
    for (n, kernel) in kernels.iter().enumerate() {
        let name = format!("kernel{n}");
        let report = scan(&repo, &name, kernel);
        let modules = report["modules"].as_array().unwrap();
        let release = kernel.file_name().unwrap().to_str().unwrap();
        println!("{release}: {}", report["counts"]);
        assert!(modules.len() > 300, "{release}: {}", modules.len());
        assert_eq!(report["counts"]["unreadable"], 0, "{release}");
        for module in modules {
            assert_eq!(module["made_for"], *release, "{module}");
            assert!(module["licence"].is_string(), "{module}");
            // A distribution's own modules are signed, of the kernel's source, and no reason for alarm.
            assert!(
                module["signed"] == true && module["signer"].as_str().unwrap().contains("Debian"),
                "{module}"
            );
            assert!(module["risk"]["level"].as_u64().unwrap() <= 2, "{module}");
        }
        assert_eq!(report["counts"]["out_of_tree"], 0);
        assert_eq!(report["counts"]["other_kernel"].as_u64().unwrap(), modules.len() as u64);
        let parameters: usize =
            modules.iter().map(|module| module["parameters"].as_array().unwrap().len()).sum();
        assert!(parameters > 300, "{release}: {parameters} parameters");
        let text = repo.read(&format!("bricks/{name}.report.md"));
        assert!(text.contains("## Signed by") && text.contains("## All"));
        // Where modinfo(8) is, it says the same.
        for module in modules.iter().step_by(modules.len() / 20) {
            let path = Path::new(module["path"].as_str().unwrap());
            for (field, key) in [("license", "licence"), ("vermagic", "vermagic"), ("signer", "signer")] {
                if let Some(said) = modinfo(path, field) {
                    assert_eq!(
                        said.trim(),
                        module[key].as_str().unwrap_or_default().trim(),
                        "{field} of {}",
                        path.display()
                    );
                }
            }
        }
    }
}

#[test]
fn a_module_without_its_signature_in_the_wrong_place_is_said_to_be_so() {
    let Some(kernels) = kernels() else { return };
    let repo = Repo::new();
    let from = kernels.first().unwrap();
    let listed = Command::new("find").arg(from).args(["-name", "*.ko*", "-size", "-200k"]).output().unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    let module = text.lines().find(|line| line.contains(".ko")).unwrap();
    let image = match Path::new(module).extension().unwrap().to_str().unwrap() {
        "xz" => Command::new("xz").args(["-dc", module]).output().unwrap().stdout,
        _ => fs::read(module).unwrap(),
    };
    let marker = b"~Module signature appended~\n";
    assert!(image.ends_with(marker));
    let elsewhere = repo.path("lib/modules/9.9.9-other/kernel");
    fs::create_dir_all(&elsewhere).unwrap();
    fs::write(elsewhere.join("unsigned.ko"), &image[..image.len() - marker.len()]).unwrap();
    // Of no source tree: the entry that says so is another one.
    let mut foreign = image.clone();
    let at = foreign.windows(9).position(|window| window == b"intree=Y\0").unwrap();
    foreign[at..at + 6].copy_from_slice(b"outree");
    fs::write(elsewhere.join("foreign.ko"), &foreign).unwrap();
    fs::write(elsewhere.join("damaged.ko"), &image[..image.len() / 3]).unwrap();
    let report = scan(&repo, "odd", &repo.path("lib/modules"));
    let reasons = |name: &str| -> String {
        let modules = report["modules"].as_array().unwrap();
        let module = modules.iter().find(|module| module["path"].as_str().unwrap().ends_with(name)).unwrap();
        module["risk"]["reasons"].to_string()
    };
    assert!(reasons("unsigned.ko").contains("not signed"), "{}", reasons("unsigned.ko"));
    assert!(
        reasons("unsigned.ko").contains("among the modules of kernel 9.9.9-other"),
        "{}",
        reasons("unsigned.ko")
    );
    assert!(reasons("foreign.ko").contains("outside the kernel's source"), "{}", reasons("foreign.ko"));
    assert!(reasons("damaged.ko").contains("cannot be read"), "{}", reasons("damaged.ko"));
    assert_eq!(report["counts"]["modules"], 3);
    assert!(repo.read("bricks/odd.report.md").contains("damaged"));
}

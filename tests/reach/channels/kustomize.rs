//! The component for Kustomize: the init container of docs/containers.md, given to the workloads
//! that ask for it.

use super::forge::yaml;
use crate::systems::{project, succeed};
use serde_json::Value;
use std::fs;
use std::process::Command;
use support::Folder;

const COMPONENT: &str = "packaging/kustomize/kustomization.yaml";

/// A file of ours that has YAML in it, parsed.
fn parsed(folder: &Folder, text: &str) -> Value {
    let path = folder.join("part.yaml");
    fs::write(&path, text).expect("ours");
    yaml(path.to_str().expect("UTF-8"))
}

#[test]
fn it_is_what_the_page_says() {
    let folder = Folder::new("kustomize-page");
    let page = fs::read_to_string(project().join("docs/containers.md")).expect("the page");
    let pod = page
        .split("```yaml\n")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("YAML");
    let component = yaml(COMPONENT);
    assert_eq!(component["kind"], "Component");
    let patches = component["patches"].as_array().expect("patches");
    let [patch] = &patches[..] else {
        panic!("{component}");
    };
    let patch = parsed(&folder, patch["patch"].as_str().expect("a patch"));
    assert_eq!(patch["spec"]["template"]["spec"], parsed(&folder, pod));
}

/// Kustomize as kubectl has it: what carries the label gets the init container, the volume and the
/// variable, beside its own, and what does not stays as it is.
#[test]
fn kustomize_gives_them_to_the_workloads_with_the_label() {
    let version = Command::new("kubectl")
        .args(["version", "--client"])
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    if !version.contains("Kustomize Version: v5") {
        eprintln!("skipped: there is no kubectl with Kustomize 5");
        return;
    }
    let folder = Folder::new("kustomize");
    fs::create_dir(folder.join("component")).expect("ours");
    folder.copy(project().join(COMPONENT), "component/kustomization.yaml");
    let workload = |kind: &str, label: &str| {
        format!(
            "apiVersion: apps/v1\nkind: {kind}\nmetadata: {{name: {}{label}, labels: {{libreuse: \
             \"{label}\"}}}}\n\
             spec:\n  selector: {{matchLabels: {{app: a}}}}\n  template:\n    \
             metadata: {{labels: {{app: a}}}}\n    spec:\n\
             \x20     initContainers: [{{name: own, image: own}}]\n      containers:\n\
             \x20     - {{name: server, image: s, env: [{{name: A, value: b}}]}}\n      \
             - {{name: beside, image: s}}\n---\n",
            kind.to_lowercase()
        )
    };
    let mut workloads = String::new();
    for kind in ["Deployment", "StatefulSet", "DaemonSet"] {
        workloads += &workload(kind, "on");
        workloads += &workload(kind, "off");
    }
    fs::write(folder.join("workloads.yaml"), workloads).expect("ours");
    fs::write(
        folder.join("kustomization.yaml"),
        "resources: [workloads.yaml]\ncomponents: [component]\nimages: [{name: reuseaddr, newName: \
         registry/reuseaddr}]\n",
    )
    .expect("ours");
    let composed = succeed(Command::new("kubectl").arg("kustomize").arg(folder.path()));
    let parts: Vec<Value> = composed
        .split("\n---\n")
        .map(|part| parsed(&folder, part))
        .collect();
    assert_eq!(parts.len(), 6, "{composed}");
    for part in parts {
        let pod = &part["spec"]["template"]["spec"];
        let named = |list: &str, name: &str| {
            pod[list]
                .as_array()
                .and_then(|all| all.iter().find(|one| one["name"] == name))
                .cloned()
        };
        let server = named("containers", "server").expect("its own");
        assert!(server.to_string().contains("\"A\""), "{part}");
        assert!(named("initContainers", "own").is_some(), "{part}");
        let beside = named("containers", "beside").expect("its own");
        assert!(!beside.to_string().contains("LD_PRELOAD"), "{part}");
        let is_asked = part["metadata"]["labels"]["libreuse"] == "on";
        assert_eq!(server.to_string().contains("LD_PRELOAD"), is_asked);
        assert_eq!(named("volumes", "libreuse").is_some(), is_asked);
        match named("initContainers", "libreuse") {
            Some(init) if is_asked => assert_eq!(init["image"], "registry/reuseaddr"),
            other => assert!(other.is_none() && !is_asked, "{part}"),
        }
    }
}

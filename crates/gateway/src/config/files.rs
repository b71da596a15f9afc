//! Files that a configuration names: path resolution and checks.

use std::{
    fs,
    path::{Component, Path, PathBuf},
};

use super::{Config, Report, document::Step, secrets::MISSING};

/// A path in the configuration and its entry.
struct Named<'c> {
    place: Vec<Step<'c>>,
    path: &'c mut PathBuf,
}

fn named(config: &mut Config) -> Vec<Named<'_>> {
    let mut all = vec![
        Named { place: vec!["store".into(), "path".into()], path: &mut config.store.path },
        Named { place: vec!["secrets".into(), "file".into()], path: &mut config.secrets.file },
    ];
    for (at, listener) in config.listeners.iter_mut().enumerate() {
        if let Some(tls) = &mut listener.tls {
            let place = |name| vec!["listeners".into(), at.into(), "tls".into(), Step::Key(name)];
            all.push(Named { place: place("certificate"), path: &mut tls.certificate });
            all.push(Named { place: place("key"), path: &mut tls.key });
        }
    }
    for (name, upstream) in &mut config.upstreams {
        let tls = &mut upstream.tls;
        for (setting, path) in
            [("ca", &mut tls.ca), ("certificate", &mut tls.certificate), ("key", &mut tls.key)]
        {
            let Some(path) = path else { continue };
            let place = vec!["upstreams".into(), Step::Key(name), "tls".into(), Step::Key(setting)];
            all.push(Named { place, path });
        }
    }
    if let Some(tls) = config.admin.as_mut().and_then(|admin| admin.tls.as_mut()) {
        let place = |name| vec!["admin".into(), "tls".into(), Step::Key(name)];
        all.push(Named { place: place("certificate"), path: &mut tls.certificate });
        all.push(Named { place: place("key"), path: &mut tls.key });
    }
    all
}

/// Makes relative paths relative to the file that names them.
///
/// Earlier versions resolved them in the working directory. A file that exists only there is an error; otherwise `init`
/// would create a second, empty store.
pub(super) fn resolve(config: &mut Config, file: &Path, report: &mut Report) {
    let folder = file.parent().unwrap_or(Path::new(""));
    for Named { place, path } in named(config) {
        if path.starts_with("~") {
            report.error(&place, "~ is not expanded in this file; write the path of the folder itself");
        }
        if path.is_absolute() {
            continue;
        }
        let resolved = tidy(&folder.join(&*path));
        let earlier = std::mem::replace(path, resolved);
        if !path.exists() && earlier.exists() && !is_same(path, &earlier) {
            let why = format!(
                "relative paths are relative to this file, so this is {}, which does not exist; {} exists in the \
                 working directory, where earlier versions looked for it: move the file or write its path here",
                path.display(),
                earlier.display()
            );
            report.error(&place, why);
        }
    }
}

/// Returns `true` if two paths name the same file, whether or not it exists.
fn is_same(one: &Path, other: &Path) -> bool {
    let whole = |path: &Path| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Some((fs::canonicalize(folder).ok()?, path.file_name()?.to_owned()))
    };
    whole(one).is_some_and(|one| whole(other) == Some(one))
}

/// Removes `folder/..` from a path if the folder exists and is not a symbolic link.
fn tidy(path: &Path) -> PathBuf {
    let mut tidied = PathBuf::new();
    for part in path.components() {
        let is_folder = || fs::symlink_metadata(&tidied).is_ok_and(|found| found.is_dir());
        let is_named = matches!(tidied.components().next_back(), Some(Component::Normal(_)));
        if part == Component::ParentDir && is_named && is_folder() {
            tidied.pop();
        } else {
            tidied.push(part);
        }
    }
    tidied
}

/// Checks that the secrets and the store exist or can be created. Opens and creates nothing.
pub(super) fn check(config: &Config, report: &mut Report) {
    let (store, secrets) = (&config.store.path, &config.secrets.file);
    let from_environment = config.secrets.variable().is_some();
    for (place, path) in
        [(["store".into(), "path".into()], store), (["secrets".into(), "file".into()], secrets)]
    {
        if path.is_dir() {
            report.error(&place, format!("{} is a folder, not a file", path.display()));
        } else if let Some(wrong) = unmakeable(path) {
            report.error(
                &place,
                format!("{} cannot be created: {} is not a folder", path.display(), wrong.display()),
            );
        }
    }
    let place: [Step<'_>; 2] = ["secrets".into(), "file".into()];
    if !secrets.exists() && !from_environment {
        let variable = config.secrets.environment_variable.as_ref();
        let unset = variable.map(|name| format!("; the variable {name} is not set")).unwrap_or_default();
        if store.exists() {
            report.error(&place, format!("{} {MISSING}{unset}", secrets.display()));
        } else {
            let why =
                format!("{} does not exist yet; `portcullis init` creates it{unset}", secrets.display());
            report.warning(&place, why);
        }
    } else if !secrets.is_dir() {
        match config.secrets.load() {
            Ok(_) => {}
            Err(error) => report.error(&place, error.to_string()),
        }
    }
    if !store.exists() {
        let folder = store.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists());
        let what = match folder {
            Some(folder) => format!("the folder {} does not exist yet", folder.display()),
            None => format!("{} does not exist yet", store.display()),
        };
        let why = format!("{what}; `portcullis init` creates the store");
        report.warning(&["store".into(), "path".into()], why);
    }
}

/// Returns the file that prevents the creation of a folder, if there is one.
fn unmakeable(path: &Path) -> Option<&Path> {
    let above = path.ancestors().skip(1).find(|above| above.exists())?;
    (!above.is_dir()).then_some(above)
}

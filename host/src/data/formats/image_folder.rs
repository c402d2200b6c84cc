//! The image-folder layout: one folder for each class, read in the order of torchvision's `ImageFolder`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::listing::{Keep, Listing, Shape, Source};
use crate::data::decode::{IMAGE, is_image, other_image};
use crate::data::fault::Fault;
use crate::data::item::{Item, Place, Stored, Within};
use crate::data::locate::{entries, name_of, subfolders};
use crate::{regular, say::visible};

/// Folders of class folders.
pub struct ImageFolder;

impl Listing for ImageFolder {
    fn shape(&self) -> Shape {
        Shape::Folders(holds_classes)
    }

    /// The sorted names of the class folders in all roots.
    fn names(&self, split: &Source) -> Result<Option<Vec<String>>, Vec<Fault>> {
        let names = class_names(&split.paths).map_err(|m| split.fault(m))?;
        Ok(Some(names))
    }

    /// The images of all roots, class by class in the order of `class_names`, within a class sorted by path.
    fn read(
        &self,
        split: &Source,
        class_names: &[String],
        keep: Keep,
    ) -> Result<Vec<Item>, Vec<Fault>> {
        let unknown: Vec<String> = self
            .class_names(split)?
            .iter()
            .filter(|name| !class_names.contains(name))
            .map(|name| {
                format!(
                    "class folder \"{}\" is not among the training classes",
                    visible(name)
                )
            })
            .collect();
        if !unknown.is_empty() {
            return Err(Fault::listed(split.key, unknown));
        }
        let (mut items, mut passed_over) = (Vec::new(), BTreeMap::new());
        for (label, name) in class_names.iter().enumerate() {
            let label = Some(label as i64);
            if !keep(label) {
                continue;
            }
            for root in &split.paths {
                let folder = root.join(name);
                if folder.is_dir() {
                    let collected = collect(&folder, label, &mut items, &mut passed_over);
                    collected.map_err(|m| split.fault(m))?;
                }
            }
        }
        if !passed_over.is_empty() {
            let counts = passed_over
                .iter()
                .map(|(ending, n)| format!("{n} .{ending}"));
            let counts: Vec<String> = counts.collect();
            tell!(
                "warning: {}: images that are not read: {}",
                split.key,
                counts.join(", ")
            );
        }
        Ok(items)
    }
}

/// A folder of images of one class.
pub struct ClassFolder {
    /// Its name.
    pub name: String,
    /// The images directly in it, sorted by name.
    pub images: Vec<PathBuf>,
}

/// The class folders in a folder, sorted by name, without what is hidden and files that are no images.
///
/// # Errors
/// A folder cannot be read.
pub fn class_folders(root: &Path) -> Result<Vec<ClassFolder>, String> {
    let of_class = |folder: PathBuf| {
        let mut images = entries(&folder)?;
        images.retain(|path| path.is_file() && is_image(path));
        Ok(ClassFolder {
            name: name_of(&folder),
            images,
        })
    };
    subfolders(root)?.into_iter().map(of_class).collect()
}

fn class_names(roots: &[PathBuf]) -> Result<Vec<String>, String> {
    let mut names = Vec::new();
    for root in roots {
        if !root.is_dir() {
            return Err(format!(
                "{} is not a folder; expected a folder of class folders",
                root.display()
            ));
        }
        names.extend(subfolders(root)?.iter().map(|p| name_of(p)));
    }
    if names.is_empty() {
        let roots: Vec<String> = roots.iter().map(|r| r.display().to_string()).collect();
        return Err(format!("no class folders in {}", roots.join(", ")));
    }
    names.sort();
    names.dedup();
    Ok(names)
}

/// Whether a folder in `folder` holds an image.
fn holds_classes(folder: &Path) -> Result<bool, String> {
    for class in subfolders(folder)? {
        if entries(&class)?.iter().any(|p| p.is_file() && is_image(p)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Adds the images below `folder`: first its own, sorted by name, then those of its folders, as `os.walk` goes.
fn collect(
    folder: &Path,
    label: Option<i64>,
    items: &mut Vec<Item>,
    passed_over: &mut BTreeMap<&'static str, usize>,
) -> Result<(), String> {
    let entries = entries(folder)?;
    let (folders, files): (Vec<_>, Vec<_>) = entries.into_iter().partition(|p| p.is_dir());
    for file in &files {
        if let Some(ending) = other_image(file) {
            *passed_over.entry(ending).or_insert(0) += 1;
        }
    }
    for file in files.into_iter().filter(|f| is_image(f)) {
        let bytes = regular::metadata(&file)
            .map_err(|e| format!("cannot read {}: {e}", file.display()))?
            .len();
        items.push(Item {
            place: Place {
                file: Arc::from(file),
                within: Within::All,
            },
            stored: Stored::File,
            bytes,
            coding: &IMAGE,
            label,
        });
    }
    folders
        .iter()
        .try_for_each(|folder| collect(folder, label, items, passed_over))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::listing::train;
    use super::*;

    fn touch(root: &Path, name: &str) {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    #[test]
    fn order_is_that_of_torchvision() {
        let dir = tempfile::tempdir().unwrap();
        // 10 sorts before 2, and a class folder's own files come before those of folders in it.
        for name in [
            "2/z.png",
            "2/a/y.JPEG",
            "10/b.jpg",
            "10/a.webp",
            "10/notes.txt",
        ] {
            touch(dir.path(), name);
        }
        let roots = [dir.path().to_path_buf()];
        let names = class_names(&roots).unwrap();
        assert_eq!(names, ["10", "2"]);
        let items = ImageFolder.read(&train(&roots), &names, &|_| true).unwrap();
        let found: Vec<(String, i64)> = items
            .iter()
            .map(|i| (name_of(&i.place.file), i.label.unwrap()))
            .collect();
        let expected = [("a.webp", 0), ("b.jpg", 0), ("z.png", 1), ("y.JPEG", 1)];
        assert_eq!(
            found,
            expected.map(|(name, label)| (name.to_string(), label))
        );
        let kept = ImageFolder
            .read(&train(&roots), &names, &|label| label == Some(1))
            .unwrap();
        assert_eq!(kept.len(), 2);
    }

    #[test]
    fn a_test_split_keeps_the_training_labels() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), "dog/a.png");
        let roots = [dir.path().to_path_buf()];
        let training = ["cat".to_string(), "dog".to_string()];
        let items = ImageFolder
            .read(&train(&roots), &training, &|_| true)
            .unwrap();
        assert_eq!(items[0].label, Some(1));
        let faults = ImageFolder
            .read(&train(&roots), &training[..1], &|_| true)
            .unwrap_err();
        assert!(
            faults[0].message.contains("\"dog\" is not among"),
            "{}",
            faults[0]
        );
    }

    #[test]
    fn a_root_without_class_folders_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        touch(dir.path(), "a.png");
        let error = class_names(&[dir.path().to_path_buf()]).unwrap_err();
        assert!(error.starts_with("no class folders in"), "{error}");
        let error = class_names(&[dir.path().join("a.png")]).unwrap_err();
        assert!(error.contains("is not a folder"), "{error}");
    }
}

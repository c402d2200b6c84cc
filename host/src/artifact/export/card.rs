//! The card of an export: a README whose YAML front matter tells the Hugging Face hub and `datasets` what the files are.

use anyhow::Result;
use minijinja::{Environment, context};

use super::{ClassFolders, Export};

/// The template's name decides that texts are not escaped.
const TEMPLATE: (&str, &str) = ("card.md", include_str!("card.md"));

/// The files of an export.
pub(super) struct Files<'a> {
    /// Patterns that find those with the images and what belongs to them.
    pub patterns: Vec<String>,
    /// The folders of the classes, where the images lie in some.
    pub folders: Option<&'a ClassFolders>,
    /// Bytes of them all.
    pub bytes: u64,
}

/// What a card tells.
pub(super) struct Card<'a> {
    pub export: &'a Export<'a>,
    pub files: &'a Files<'a>,
}

impl Card<'_> {
    /// The README.
    ///
    /// # Errors
    /// When the template is at fault.
    pub fn text(&self) -> Result<String> {
        let Self { export, files } = self;
        let (set, soft) = (export.set, export.soft_labels.as_ref());
        let folders = files.folders;
        // Without a table beside the images, readers take the names of their folders; with one they take what the configuration says.
        let label_names = match folders {
            Some(folders) if soft.is_none() => &folders.names,
            _ => &set.class_names,
        };
        let numbered = folders.and_then(|folders| folders.numbered.as_ref());
        let rows = folders.map(|folders| {
            let pairs = folders.names.iter().zip(&set.class_names);
            pairs
                .map(|(folder, class)| [cell(folder), cell(class)])
                .collect::<Vec<_>>()
        });
        let mut environment = Environment::new();
        environment.add_template(TEMPLATE.0, TEMPLATE.1)?;
        let text = environment.get_template(TEMPLATE.0)?.render(context! {
            name => export.name,
            quoted_name => quoted(export.name),
            stage => export.stage.name(),
            version => env!("CARGO_PKG_VERSION"),
            images => set.len(),
            classes => set.class_names.len(),
            resolution => set.resolution,
            size_category => size_category(set.len()),
            label_names => label_names.iter().map(|name| quoted(name)).collect::<Vec<_>>(),
            logits => soft.map(|soft| &soft.source),
            bytes => files.bytes,
            patterns => files.patterns.iter().map(|p| quoted(p)).collect::<Vec<_>>(),
            folders => rows,
            numbered => numbered,
        })?;
        Ok(text + "\n")
    }
}

/// A text in YAML: a string of JSON is one of YAML.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    line.replace('|', "\\|")
}

/// The hub's name for a number of images.
fn size_category(images: usize) -> &'static str {
    match images {
        0..1_000 => "n<1K",
        1_000..10_000 => "1K<n<10K",
        10_000..100_000 => "10K<n<100K",
        100_000..1_000_000 => "100K<n<1M",
        _ => "1M<n<10M",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{ImageSet, Stage, export::SoftLabels};

    fn card(classes: [&str; 2], soft: bool, folders: bool) -> String {
        let classes = classes.map(str::to_owned).to_vec();
        let set = ImageSet::new(1, vec![0; 6], vec![0, 1], classes.clone());
        let export = Export {
            name: "two \"x\"",
            stage: Stage::Recover,
            set: &set,
            files: Vec::new(),
            soft_labels: soft.then(|| SoftLabels {
                logits: vec![vec![0., 1.]; 2],
                source: "a guess".to_owned(),
            }),
        };
        let folders = folders.then(|| ClassFolders::of(&classes));
        let files = Files {
            patterns: vec!["*/*.png".to_owned()],
            folders: folders.as_ref(),
            bytes: 7,
        };
        let card = Card {
            export: &export,
            files: &files,
        };
        card.text().unwrap()
    }

    #[test]
    fn the_front_matter_has_features_splits_and_files() {
        let expected = "---
pretty_name: \"two \\\"x\\\"\"
# license: yours to name; the images were distilled from data that has terms of its own
task_categories:
- image-classification
size_categories:
- n<1K
tags:
- dataset-distillation
- synthetic
dataset_info:
  features:
  - name: image
    dtype: image
  - name: label
    dtype:
      class_label:
        names:
          '0': \"b\"
          '1': \"a: b\"
  - name: logits
    sequence: float32
    length: 2
  splits:
  - name: train
    num_bytes: 7
    num_examples: 2
  download_size: 7
  dataset_size: 7
configs:
- config_name: default
  data_files:
  - split: train
    path:
    - \"*/*.png\"
---

# two \"x\"

2 synthetic images of 2 classes, 1x1 pixels, made by the stage `recover` of Alambic";
        let text = card(["b", "a: b"], true, false);
        assert!(text.starts_with(expected), "{text}");
        assert!(text.contains("| `logits` | a soft label: 2 numbers"));
        assert!(!text.contains("torchvision"), "{text}");
    }

    #[test]
    fn folders_that_are_numbered_are_listed_with_their_classes() {
        let text = card(["b", "a|c"], false, true);
        // What `datasets` reads off the folders must be the names of the card.
        assert!(text.contains("'1': \"00001_a_c\""), "{text}");
        assert!(text.contains("| 00001_a_c | a\\|c |"), "{text}");
        assert!(!text.contains("`logits`"), "{text}");
        // With metadata beside them `datasets` takes the features of the configuration alone.
        let soft = card(["b", "a|c"], true, true);
        let configured = "- config_name: default\n  features:\n  - name: image\n    dtype: image\n  - name: label\n";
        assert!(soft.contains(configured), "{soft}");
        assert_eq!(soft.matches("'1': \"a|c\"\n").count(), 2, "{soft}");
        let plain = card(["a", "b"], false, true);
        assert!(
            plain.contains("'1': \"b\"") && !plain.contains("| folder |"),
            "{plain}"
        );
    }

    #[test]
    fn sizes_are_the_hubs() {
        let of = [999, 1_000, 50_000, 500_000].map(size_category);
        assert_eq!(of, ["n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M"]);
    }
}

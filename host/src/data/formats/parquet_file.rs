//! Parquet files with an image column and a label column.

use std::collections::BTreeSet;
use std::path::PathBuf;

use rayon::prelude::*;

use super::label::{Label, Meaning};
use super::listing::{Keep, Listing, Shape, Source};
use super::parquet_table::Table;
use super::spool::Spool;
use crate::data::decode::IMAGE;
use crate::data::fault::{Fault, gather};
use crate::data::growth;
use crate::data::item::{Item, Place, Stored, Within};

/// Parquet files.
pub struct ParquetFile;

impl Listing for ParquetFile {
    fn shape(&self) -> Shape {
        Shape::Files("parquet")
    }

    fn has_columns(&self) -> bool {
        true
    }

    /// From the schema metadata of the first file; those of later files are read by name. Without any, labels that are text name the
    /// classes, in sorted order, unless all are numbers.
    fn names(&self, split: &Source) -> Result<Option<Vec<String>>, Vec<Fault>> {
        let tables = tables(split)?;
        let named = tables.first().and_then(Table::class_names);
        if named.is_some() || !tables.iter().any(Table::has_text_labels) {
            return Ok(named);
        }
        let mut names = BTreeSet::new();
        for label in labels(&tables, split)?.into_iter().flatten() {
            names.insert(match label {
                Label::Name(name) => name,
                Label::Number(number) => number.to_string(),
            });
        }
        let is_number = |name: &String| matches!(Label::of(name), Label::Number(_));
        let are_numbers = names.iter().all(is_number);
        Ok((!are_numbers).then(|| names.into_iter().collect()))
    }

    fn labels(&self, split: &Source) -> Result<Vec<Option<i64>>, Vec<Fault>> {
        let numbers = labels(&tables(split)?, split)?.into_iter();
        let number = |label: Label| match label {
            Label::Number(number) => Some(number),
            Label::Name(name) => match Label::of(&name) {
                Label::Number(number) => Some(number),
                Label::Name(_) => None,
            },
        };
        Ok(numbers.map(|label| label.and_then(number)).collect())
    }

    /// Rows of all files in order. Files are read in parallel. Their images lie compressed in pages, so they are unpacked into a
    /// temporary file, where each can be read alone.
    fn read(
        &self,
        split: &Source,
        class_names: &[String],
        keep: Keep,
    ) -> Result<Vec<Item>, Vec<Fault>> {
        let spool = Spool::new().map_err(|m| split.fault(m))?;
        let read = |path: &PathBuf| {
            let table = Table::open(path, split)?;
            read(&table, class_names, keep, &spool).map_err(|m| Fault::new(split.key, m))
        };
        let files: Vec<Result<Vec<Item>, Fault>> = split.paths.par_iter().map(read).collect();
        Ok(gather(files)?.into_iter().flatten().collect())
    }
}

fn tables(split: &Source) -> Result<Vec<Table>, Vec<Fault>> {
    let open = |path: &PathBuf| Table::open(path, split);
    gather(split.paths.iter().map(open).collect())
}

/// The labels of all files.
fn labels(tables: &[Table], split: &Source) -> Result<Vec<Option<Label>>, Vec<Fault>> {
    let of_table = |table: &Table| {
        let groups = (0..table.num_groups()).map(|group| table.group_labels(group));
        let groups = groups.collect::<Result<Vec<_>, _>>();
        Ok(groups.map_err(|m| Fault::new(split.key, m))?.concat())
    };
    Ok(gather(tables.iter().map(of_table).collect())?.concat())
}

fn read(
    table: &Table,
    class_names: &[String],
    keep: Keep,
    spool: &Spool,
) -> Result<Vec<Item>, String> {
    let (file, own) = (table.file.display(), table.class_names());
    let meaning = Meaning::new(own.as_deref(), class_names).map_err(|m| format!("{file}: {m}"))?;
    let (mut items, mut full) = (Vec::new(), None);
    let (mut first_row, mut unpacked) = (0, 0);
    for group in 0..table.num_groups() {
        let labels = (first_row..).zip(table.group_labels(group)?);
        let labels = labels.map(|(row, label)| {
            let class = meaning.class(label.as_ref());
            class.map_err(|message| format!("{file} row {row}: {message}"))
        });
        let labels: Vec<Option<i64>> = labels.collect::<Result<_, _>>()?;
        let (mut rows, of_group) = (labels.iter().enumerate(), items.len());
        table.group_images(group, &mut |image| {
            let Some((row, label)) = rows.next().filter(|(_, label)| keep(**label)) else {
                return;
            };
            if full.is_some() {
                return;
            }
            let bytes = image.map_or(0, |bytes| bytes.len() as u64);
            unpacked += bytes;
            if let Some(fault) = growth::fault(unpacked, table.bytes) {
                full = Some(format!(
                    "{file} row {}: with its images up to here, {fault}",
                    first_row + row
                ));
                return;
            }
            let stored = match image.map(|bytes| spool.put(bytes)) {
                None => Stored::Null,
                Some(Ok(offset)) => Stored::Spool(spool.file(), offset),
                Some(Err(message)) => {
                    full = Some(message);
                    return;
                }
            };
            items.push(Item {
                place: Place {
                    file: table.file.clone(),
                    within: Within::Row(first_row + row),
                },
                stored,
                bytes,
                coding: &IMAGE,
                label: *label,
            });
        })?;
        if let Some(message) = full {
            return Err(message);
        }
        if let Some((row, _)) = rows.next() {
            let row = first_row + row;
            return Err(format!("{file} row {row}: label without an image row"));
        }
        name_paths(table, group, first_row, &mut items[of_group..])?;
        first_row += labels.len();
    }
    Ok(items)
}

/// Tells null images of a row group from images that are there as a path.
fn name_paths(
    table: &Table,
    group: usize,
    first_row: usize,
    items: &mut [Item],
) -> Result<(), String> {
    let is_null = |item: &Item| matches!(item.stored, Stored::Null);
    if !items.iter().any(is_null) {
        return Ok(());
    }
    let mut paths = table.group_paths(group)?;
    for item in items.iter_mut().filter(|item| is_null(item)) {
        let Within::Row(row) = item.place.within else {
            continue;
        };
        if let Some(path) = paths.get_mut(row - first_row).and_then(Option::take) {
            item.stored = Stored::Path(path.into());
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "parquet_file_test.rs"]
mod tests;

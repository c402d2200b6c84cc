//! Running averages of named rows of numbers over images, as a state stores them.

use plugin_api::{prelude::*, serde_json::json};

/// One row, or one for each class.
struct Table {
    name: String,
    width: usize,
    values: Vec<f64>,
    /// Images behind each row.
    counts: Vec<f64>,
}

impl Table {
    fn row(&self, row: usize) -> Option<&[f64]> {
        self.values.chunks(self.width.max(1)).nth(row)
    }
}

/// Averages over images.
pub(crate) struct Averages {
    /// Beside which tensors are made.
    like: Tensor,
    tables: Vec<Table>,
}

impl Averages {
    /// None yet.
    pub(crate) fn new(ctx: &Ctx) -> Result<Self> {
        Ok(Self {
            like: ctx.tensor(&[0.], &[1])?,
            tables: Vec::new(),
        })
    }

    /// Adds a row that stands for `images` images to row `row` of `rows`.
    ///
    /// # Errors
    /// When the row has another length than before, or there is no such row.
    pub(crate) fn add(
        &mut self,
        name: &str,
        place: (usize, usize),
        values: &[f64],
        images: usize,
    ) -> Result<()> {
        let new = |i: usize, average: f64, share: f64| average + share * (values[i] - average);
        self.update(name, place, values.len(), images, new)
    }

    /// Adds a row of means to one table and a row of population variances to another: of all images there then are mean and variance, by
    /// the law of total variance.
    ///
    /// # Errors
    /// As [`Averages::add`].
    pub(crate) fn add_moments(
        &mut self,
        [mean_name, var_name]: &[String; 2],
        place: (usize, usize),
        [mean, var]: [&[f64]; 2],
        images: usize,
    ) -> Result<()> {
        let table = self.tables.iter().find(|table| table.name == *mean_name);
        let before = table
            .and_then(|table| table.row(place.0))
            .map(<[_]>::to_vec);
        let before = before.unwrap_or_else(|| vec![0.; mean.len()]);
        // The means first: they refuse a row of another length.
        self.add(mean_name, place, mean, images)?;
        let new = |i: usize, average: f64, share: f64| {
            let apart = mean[i] - before[i];
            average + share * (var[i] - average) + share * (1. - share) * apart * apart
        };
        self.update(var_name, place, var.len(), images, new)
    }

    /// Replaces every number of a row by what `new` makes of its place, itself and the share of the new images. Numbers are rounded to
    /// the element type of a state, so that a state loses nothing.
    fn update(
        &mut self,
        name: &str,
        (row, rows): (usize, usize),
        width: usize,
        images: usize,
        new: impl Fn(usize, f64, f64) -> f64,
    ) -> Result<()> {
        let at = match self.tables.iter().position(|table| table.name == name) {
            Some(at) => at,
            None => {
                self.tables.push(Table {
                    name: name.to_owned(),
                    width,
                    values: vec![0.; rows * width],
                    counts: vec![0.; rows],
                });
                self.tables.len() - 1
            }
        };
        let table = &mut self.tables[at];
        let (had, all) = (table.width, table.counts.len());
        ensure!(
            had == width,
            "\"{name}\" has {width} numbers, and had {had} before"
        );
        ensure!(row < all, "\"{name}\": an image of class {row} of {all}");
        let images = images as f64;
        table.counts[row] += images;
        let share = images / table.counts[row];
        let own = &mut table.values[row * width..(row + 1) * width];
        for (i, average) in own.iter_mut().enumerate() {
            *average = rounded(&self.like, new(i, *average, share));
        }
        Ok(())
    }

    /// Some rows of a table, [rows, width].
    ///
    /// # Errors
    /// When there is no such table, or no image behind a row.
    pub(crate) fn rows(&self, name: &str, rows: &[usize]) -> Result<Tensor> {
        let Some(table) = self.tables.iter().find(|table| table.name == name) else {
            bail!("no real image went through \"{name}\"");
        };
        let mut values = Vec::with_capacity(rows.len() * table.width);
        for &row in rows {
            let seen = table.counts.get(row).is_some_and(|&count| count > 0.);
            match table.row(row) {
                Some(own) if seen => values.extend_from_slice(own),
                _ => bail!("no real image of class {row} was observed"),
            }
        }
        self.like.new_like(&values, &[rows.len(), table.width])
    }

    /// All of it, to be stored.
    ///
    /// # Errors
    /// When a tensor cannot be made.
    pub(crate) fn to_state(&self) -> Result<State> {
        let mut tensors = Vec::new();
        for table in &self.tables {
            let rows = table.counts.len();
            let values = self.like.new_like(&table.values, &[rows, table.width])?;
            let counts = self.like.new_like(&table.counts, &[rows])?;
            tensors.push((format!("value.{}", table.name), values));
            tensors.push((format!("count.{}", table.name), counts));
        }
        let names: Vec<&str> = self.tables.iter().map(|t| t.name.as_str()).collect();
        Ok(State {
            tensors,
            json: json!({ "tables": names }).to_string(),
        })
    }

    /// What [`Averages::to_state`] gave.
    ///
    /// # Errors
    /// When something is missing.
    pub(crate) fn of_state(state: &State) -> Result<Self> {
        let tensor = |name: String| match state.tensors.iter().find(|(n, _)| *n == name) {
            Some((_, tensor)) => Ok(tensor),
            None => bail!("the statistics have no \"{name}\""),
        };
        let names = plugin_api::component::parse_options::<Names>(&state.json);
        let names = names.context("statistics that another version of this plugin stored")?;
        let mut like = None;
        let tables = names.tables.into_iter().map(|name| {
            let values = tensor(format!("value.{name}"))?;
            let [_, width] = values.dims()?;
            like = Some(values.clone());
            Ok(Table {
                width,
                values: values.to_vec_f64()?,
                counts: tensor(format!("count.{name}"))?.to_vec_f64()?,
                name,
            })
        });
        let tables = tables.collect::<Result<_>>()?;
        match like {
            Some(like) => Ok(Self { like, tables }),
            None => bail!("the statistics are empty"),
        }
    }
}

/// A value as the element type of a tensor holds it.
fn rounded(like: &Tensor, value: f64) -> f64 {
    match like.dtype() {
        DType::F64 => value,
        _ => f64::from(value as f32),
    }
}

/// The names of the tables, in a state.
#[derive(Deserialize)]
struct Names {
    tables: Vec<String>,
}

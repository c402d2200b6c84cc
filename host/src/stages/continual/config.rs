//! `[continual]`: in which steps and orders classes arrive, and what a memory of them holds.

use anyhow::{Context, Result};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::stages::{
    Around, Identity, Table, limits::STUDENT_SEED, sets::random_real, validate, without,
};

use super::order::ClassOrder;

/// The largest memory in images: far above every published one.
const MEMORY: u32 = 1_000_000_000;

/// When images are distilled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Distill {
    /// Once, from all classes, before the first of them arrives, as in SRe2L: the images are those of the run
    #[default]
    Once,
    /// At each step, from the classes that arrive with it alone, as in DM: nothing is known of later classes
    PerStep,
}

/// How many images a memory holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Budget {
    /// One word
    Plain(PlainBudget),
    /// So many in all: of each class seen the first images, as many of one as of another
    Total(#[schemars(range(min = 1, max = MEMORY))] u32),
}

/// How many images a memory holds, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PlainBudget {
    /// All images of each class: the memory grows
    PerClass,
}

impl Default for Budget {
    fn default() -> Self {
        Self::Plain(PlainBudget::PerClass)
    }
}

impl Budget {
    /// The most images of each of so many classes.
    pub fn of_each(self, classes: usize) -> usize {
        match self {
            Self::Plain(PlainBudget::PerClass) => usize::MAX,
            Self::Total(images) => images as usize / classes.max(1),
        }
    }
}

/// How students are evaluated while classes arrive; they follow the recipe of `[validate]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Steps in which classes arrive, as many in each: a divisor of the number of classes
    #[schemars(range(min = 2, max = 10_000))]
    pub steps: u32,
    /// Orders in which classes arrive: lists of all class indices, or numbers, the seeds of orders that are drawn
    #[serde(default = "orders")]
    #[schemars(length(min = 1))]
    pub orders: Vec<ClassOrder>,
    /// Seeds of students, one training each in every order and step; those of `[validate]` by default
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1), inner(range(max = STUDENT_SEED)))]
    pub seeds: Option<Vec<u64>>,
    /// When images are distilled
    #[serde(default)]
    pub distill: Distill,
    /// Images in memory: `per-class` for all of each class, or their number in all
    #[serde(default)]
    pub budget: Budget,
}

fn orders() -> Vec<ClassOrder> {
    vec![ClassOrder::Drawn(0)]
}

impl Config {
    /// The seeds of students.
    pub fn seeds<'a>(&'a self, students: &'a validate::Config) -> &'a [u64] {
        self.seeds.as_deref().unwrap_or(&students.seeds)
    }

    /// The kinds of labels that students learn from; teachers of some classes alone label no memory of others.
    pub fn labels(&self, students: &validate::Config, relabelled: bool) -> Vec<validate::Labels> {
        let mut kinds = validate::Labels::of(students, relabelled);
        kinds.retain(|labels| match labels {
            validate::Labels::Stored => self.distill == Distill::Once,
            validate::Labels::Classes => true,
            validate::Labels::Unaugmented => false,
        });
        kinds
    }

    /// The controls: draws of random real images.
    pub fn controls(&self, students: &validate::Config) -> impl Iterator<Item = String> + use<> {
        (1..=students.random_draws).map(random_real)
    }
}

impl Table for Config {
    fn identity(&self, around: &Around<'_>) -> Result<Identity> {
        let students = around.students.context("continual without [validate]")?;
        Ok(Identity {
            table: without(json!(self), &["orders", "seeds"]),
            extent: json!([
                self.orders,
                self.seeds(students),
                students.random_draws,
                students.controls,
            ]),
            ..Identity::default()
        })
    }
}

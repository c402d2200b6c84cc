//! States of a few images on their way, from what they started from to what they became: `frames.safetensors` in the folder of the stage
//! that made them.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, Result, ensure};
use candle_core::Device;
use serde::{Deserialize, Serialize};

use crate::engine::Value;

use super::tensors;

/// The text of the file that says what its tensors are.
const INDEX: &str = "frames";

/// An image whose states are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Its class.
    pub class: u32,
    /// The name of its class.
    pub class_name: String,
    /// Its number within its class.
    pub number: u32,
}

/// All kept images at one iteration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Iterations behind it: 0 is what the images started from.
    pub iteration: u64,
    /// Pixels a side at that iteration.
    pub resolution: usize,
    /// Their bytes, [N, 3, R, R].
    pub pixels_nchw: Vec<u8>,
}

impl State {
    /// Bytes of one image, [3, R, R].
    pub fn image(&self, index: usize) -> &[u8] {
        let size = 3 * self.resolution * self.resolution;
        &self.pixels_nchw[index * size..(index + 1) * size]
    }
}

/// States of some images of a set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frames {
    /// The images, in the order of the set.
    pub images: Vec<Shown>,
    /// Their states, in the order of their iterations; the last is what they became.
    pub states: Vec<State>,
}

#[derive(Serialize, Deserialize)]
struct Index {
    images: Vec<Shown>,
    iterations: Vec<u64>,
}

fn tensor(state: usize) -> String {
    format!("state-{state:05}")
}

impl Frames {
    /// The iterations of the states.
    pub fn iterations(&self) -> Vec<u64> {
        self.states.iter().map(|state| state.iteration).collect()
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When the disk says no.
    pub fn save(&self, path: &Path) -> Result<()> {
        let values = self.states.iter().enumerate().map(|(number, state)| {
            let side = state.resolution;
            let dims = (self.images.len(), 3, side, side);
            let pixels = Value::from_slice(&state.pixels_nchw, dims, &Device::Cpu)?;
            Ok((tensor(number), pixels))
        });
        let values = values.collect::<Result<Vec<_>>>()?;
        let index = serde_json::to_string(&Index {
            images: self.images.clone(),
            iterations: self.iterations(),
        })?;
        let texts = BTreeMap::from([(INDEX.to_owned(), index)]);
        tensors::save(path, &values, &texts)
    }

    /// Reads what [`Frames::save`] wrote; none where there is no such file.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn load(path: &Path) -> Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let (values, texts) = tensors::load(path, &Device::Cpu)?;
        let read = || {
            let index = texts.get(INDEX).context("it does not say what it holds")?;
            let Index { images, iterations } = serde_json::from_str(index)?;
            let states = iterations.into_iter().enumerate();
            let states = states.map(|(number, iteration)| {
                let value = values.get(&tensor(number)).context("a state is missing")?;
                let (count, _, resolution, _) = value.dims4()?;
                ensure!(
                    value.dims() == [images.len(), 3, resolution, resolution],
                    "a state has {count} images of shape {:?}, expected {}",
                    value.dims(),
                    images.len()
                );
                Ok(State {
                    iteration,
                    resolution,
                    pixels_nchw: value.flatten_all()?.to_vec1()?,
                })
            });
            let states = states.collect::<Result<_>>()?;
            Ok::<_, anyhow::Error>(Self { images, states })
        };
        let read = read().with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Some(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames() -> Frames {
        let image = |class: u32, name: &str| Shown {
            class,
            class_name: name.to_owned(),
            number: 0,
        };
        let state = |iteration, resolution: usize| State {
            iteration,
            resolution,
            pixels_nchw: (0..2 * 3 * resolution * resolution)
                .map(|i| (i * 7 % 251) as u8)
                .collect(),
        };
        Frames {
            images: vec![image(0, "b/\"<x>"), image(1, "é")],
            states: vec![state(0, 2), state(1, 2), state(40, 4)],
        }
    }

    #[test]
    fn states_of_several_resolutions_survive_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("frames.safetensors");
        assert_eq!(Frames::load(&path).unwrap(), None);
        frames().save(&path).unwrap();
        assert_eq!(Frames::load(&path).unwrap(), Some(frames()));
        assert_eq!(frames().states[2].image(1)[0], (48 * 7 % 251) as u8);
    }

    #[test]
    fn a_file_with_fewer_images_than_it_says_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("frames.safetensors");
        let mut less = frames();
        less.save(&path).unwrap();
        let (values, texts) = tensors::load(&path, &Device::Cpu).unwrap();
        less.images.pop();
        let index = Index {
            images: less.images.clone(),
            iterations: less.iterations(),
        };
        let texts = texts.into_keys();
        let texts = texts.map(|key| (key, serde_json::to_string(&index).unwrap()));
        let values: Vec<_> = values.into_iter().collect();
        tensors::save(&path, &values, &texts.collect()).unwrap();
        let error = format!("{:#}", Frames::load(&path).unwrap_err());
        assert!(
            error.contains("frames.safetensors: a state has 2 images"),
            "{error}"
        );
    }
}

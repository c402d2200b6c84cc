//! [`ParamBuilder`]: an architecture declares its parameters; the host makes and owns them.

use std::{
    cell::{Cell, RefCell},
    fmt,
    rc::Rc,
};

use serde::{Deserialize, Serialize};

use crate::{Result, ensure};

use super::recorded::{Layer, LayerKind};

/// The most parameters and buffers of a module: some ten times those of the deepest networks, so that a depth that was meant otherwise
/// ends with an error.
const MAX_DECLARED: usize = 1 << 14;

/// A declared parameter or buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParamId(pub(crate) usize);

/// A distribution of initial values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Init {
    /// One value everywhere.
    Constant {
        /// The value.
        value: f64,
    },
    /// Uniform in [-bound, bound).
    Uniform {
        /// The bound.
        bound: f64,
    },
    /// Normal around 0.
    Normal {
        /// Standard deviation.
        std: f64,
    },
    /// Normal around 0, redrawn beyond two standard deviations.
    TruncatedNormal {
        /// Standard deviation before the cut.
        std: f64,
    },
}

impl Init {
    /// PyTorch's default for convolutions and linear layers: uniform within 1 / sqrt(fan_in).
    pub fn torch_default(fan_in: usize) -> Self {
        Self::Uniform {
            bound: 1. / (fan_in.max(1) as f64).sqrt(),
        }
    }

    /// Kaiming normal for ReLU: standard deviation sqrt(2 / fan) (He et al., 2015); torchvision's ResNets take the fan out.
    pub fn kaiming_normal(fan: usize) -> Self {
        Self::Normal {
            std: (2. / fan.max(1) as f64).sqrt(),
        }
    }
}

/// One declared parameter or buffer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ParamSpec {
    /// Dotted name, as in a PyTorch state dict.
    pub name: String,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Initial values.
    pub init: Init,
    /// Learned by gradient descent; a buffer is not.
    pub trainable: bool,
}

/// One declared BatchNorm.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NormSpec {
    /// Dotted name of the layer.
    pub name: String,
    /// Index of its running mean among the parameters.
    pub running_mean: usize,
    /// Index of its running variance.
    pub running_var: usize,
    /// Share of the batch in an update of the running statistics.
    pub momentum: f64,
}

/// All that a module declared, in order.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ModuleSpec {
    /// Parameters and buffers.
    pub params: Vec<ParamSpec>,
    /// BatchNorms, in the order of their declaration.
    pub batch_norms: Vec<NormSpec>,
}

/// Records what a module declares. `pp` goes one level down, as in candle's `VarBuilder`.
#[derive(Clone, Default)]
pub struct ParamBuilder {
    spec: Rc<RefCell<ModuleSpec>>,
    layers: Rc<Cell<usize>>,
    path: String,
}

impl ParamBuilder {
    /// An empty record.
    pub fn new() -> Self {
        Self::default()
    }

    /// The level `name` below this one.
    #[must_use]
    pub fn pp(&self, name: impl fmt::Display) -> Self {
        Self {
            spec: Rc::clone(&self.spec),
            layers: Rc::clone(&self.layers),
            path: self.full_name(&name.to_string()),
        }
    }

    /// Declares a parameter.
    ///
    /// # Errors
    /// When the name is taken, the shape is empty, or there are more than 16,384.
    pub fn param(&self, name: &str, shape: &[usize], init: Init) -> Result<ParamId> {
        self.declare(name, shape, init, true)
    }

    /// Declares a buffer: saved with the parameters, not learned.
    ///
    /// # Errors
    /// As [`ParamBuilder::param`].
    pub fn buffer(&self, name: &str, shape: &[usize], init: Init) -> Result<ParamId> {
        self.declare(name, shape, init, false)
    }

    /// The layer at this level, counted among those whose inputs can be recorded.
    pub(crate) fn layer(&self, kind: LayerKind) -> Layer {
        let index = self.layers.get();
        self.layers.set(index + 1);
        Layer {
            index,
            name: self.path.clone(),
            kind,
        }
    }

    pub(crate) fn batch_norm(&self, mean: ParamId, var: ParamId, momentum: f64) -> usize {
        let mut spec = self.spec.borrow_mut();
        let name = self.path.clone();
        spec.batch_norms.push(NormSpec {
            name,
            running_mean: mean.0,
            running_var: var.0,
            momentum,
        });
        spec.batch_norms.len() - 1
    }

    /// What was declared so far.
    pub fn spec(&self) -> ModuleSpec {
        self.spec.borrow().clone()
    }

    fn declare(&self, name: &str, shape: &[usize], init: Init, trainable: bool) -> Result<ParamId> {
        let name = self.full_name(name);
        ensure!(
            shape.iter().all(|&d| d > 0),
            "parameter \"{name}\" has an empty shape {shape:?}"
        );
        let mut spec = self.spec.borrow_mut();
        ensure!(
            spec.params.iter().all(|p| p.name != name),
            "parameter \"{name}\" is declared twice"
        );
        ensure!(
            spec.params.len() < MAX_DECLARED,
            "more than {MAX_DECLARED} parameters, at \"{name}\"; expected a network of fewer layers"
        );
        spec.params.push(ParamSpec {
            name,
            shape: shape.to_vec(),
            init,
            trainable,
        });
        Ok(ParamId(spec.params.len() - 1))
    }

    fn full_name(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_depth_without_end_ends_with_an_error() {
        let builder = ParamBuilder::new();
        let blocks = builder.pp("blocks");
        let declare = |i| blocks.param(&format!("{i}"), &[1], Init::Constant { value: 0. });
        let error = (0..u64::MAX).find_map(|i| declare(i).err()).unwrap();
        assert_eq!(
            error.to_string(),
            "more than 16384 parameters, at \"blocks.16384\"; expected a network of fewer layers"
        );
    }

    #[test]
    fn names_are_dotted_and_unique() {
        let builder = ParamBuilder::new();
        let layer = builder.pp("layer1").pp(0);
        layer
            .param("weight", &[2, 3], Init::torch_default(3))
            .unwrap();
        assert_eq!(builder.spec().params[0].name, "layer1.0.weight");
        let error = layer
            .param("weight", &[1], Init::Constant { value: 0. })
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "parameter \"layer1.0.weight\" is declared twice"
        );
        assert!(
            layer
                .buffer("x", &[0], Init::Constant { value: 0. })
                .is_err()
        );
    }
}

//! What trajectory matching keeps: TESLA the parameters of each step, MTT the activations of each step too.

mod support;

use std::sync::Arc;

use alambic::{
    engine::{
        self,
        allocation::{Counting, live_bytes, peak_bytes, reset_peak, set_counting},
    },
    plugins::{Registry, export},
};
use candle_core::{DType, Device};
use plugin_api::{
    Ctx, Result, Tensor,
    architecture::InputShape,
    matcher::{Lab, Network, Synthetic},
    testing,
};
use serde_json::json;

#[global_allocator]
static COUNTING: Counting = Counting;

const INPUT: InputShape = InputShape {
    channels: 3,
    height: 32,
    width: 32,
    classes: 10,
};

/// A ConvNet-3 whose expert moves a little.
struct ConvNetLab {
    registry: Registry,
    device: Tensor,
}

impl Lab for ConvNetLab {
    fn real(&self, _class: u32, _count: usize, _draw: u64) -> Result<Tensor> {
        unreachable!("trajectories are matched without real images")
    }

    fn augment(&self, images: &Tensor, _each: bool, _draw: u64) -> Result<Tensor> {
        Ok(images.clone())
    }

    fn network(&self) -> Result<Network> {
        let options = json!({"depth": 3, "width": 32, "norm": "instance"});
        let architecture = self.registry.create_architecture("convnet", &options);
        let (module, spec) = architecture.expect("a shipped plugin").build(&INPUT)?;
        Ok(Network { module, spec })
    }

    fn initial(&self, _draw: u64) -> Result<Vec<Tensor>> {
        testing::params_by_name(&self.device, &self.network()?.spec, 1.)
    }

    fn expert(&self, _expert: u64, epoch: u64) -> Result<Vec<Tensor>> {
        let values = self.initial(0)?.into_iter();
        values.map(|v| v * (1. + 0.01 * epoch as f64)).collect()
    }
}

/// Bytes at the peak of an iteration, beyond what is there before and after it.
fn peak(lab: &Arc<ConvNetLab>, method: &str, steps: usize) -> u64 {
    let options = json!({"method": method, "steps": steps, "max_start_epoch": 1});
    let matcher = lab.registry.create_matcher("trajectory", &options).unwrap();
    let classes: Vec<u32> = (0..20).map(|i| i % 10).collect();
    let images = testing::uniform_by_name("input", classes.len() * 3 * 32 * 32);
    let iteration = || -> Result<i64> {
        let leaf = |values: &[f64], dims: &[usize]| lab.device.new_like(values, dims)?.leaf();
        let synthetic = Synthetic {
            images: leaf(&images, &[classes.len(), 3, 32, 32])?,
            classes: classes.clone(),
            labels: None,
            learning_rate: Some(leaf(&[0.01], &[])?),
        };
        let ctx = Ctx::new("match", 0, &lab.device);
        let lab: Arc<dyn Lab> = lab.clone();
        reset_peak();
        let before = live_bytes();
        matcher.forward(&synthetic, lab, &ctx)?;
        Ok(peak_bytes() - before)
    };
    // The first one makes the buffers that stay.
    iteration().unwrap();
    iteration().unwrap() as u64
}

#[test]
fn tesla_grows_by_the_parameters_of_each_step() {
    set_counting(true);
    let zero = engine::Tensor::zeros(&[], DType::F32, &Device::Cpu).unwrap();
    let lab = Arc::new(ConvNetLab {
        registry: support::network::shipped_plugins(),
        device: export(zero),
    });
    let spec = lab.network().unwrap().spec;
    let sizes = spec
        .params
        .iter()
        .map(|p| p.shape.iter().product::<usize>());
    let parameters = 4 * sizes.sum::<usize>() as u64;
    println!("parameters: {parameters} bytes a step");
    let mtt = [5, 10].map(|steps| peak(&lab, "mtt", steps));
    println!("mtt: peak {} bytes at 5 steps, {} at 10", mtt[0], mtt[1]);
    for method in ["tesla", "tesla-exact"] {
        let [few, many] = [5, 40].map(|steps| peak(&lab, method, steps));
        let grown = many.saturating_sub(few);
        println!(
            "{method}: peak {few} bytes at 5 steps, {many} at 40: {} a step",
            grown / 35
        );
        // Names and handles of each step's tensors are a few hundred bytes each.
        let allowed = 35 * (parameters + 16 * 1024);
        assert!(
            grown <= allowed,
            "{method}: grew by {grown}, allowed {allowed}"
        );
        assert!(
            many < mtt[1],
            "{method}: {many} at 40 steps, mtt {} at 10",
            mtt[1]
        );
    }
    assert!(
        mtt[1] - mtt[0] > 5 * 4 * parameters,
        "mtt keeps activations"
    );
}

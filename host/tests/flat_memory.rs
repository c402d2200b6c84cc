//! Long runs: the peak of memory after a thousand steps is that of the first hundred, and a graph of fifty unrolled steps fits a
//! small stack.

mod support;

use std::{
    ops::Range,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use alambic::{
    artifact::{RunFolder, Stage},
    data::{Config, Dataset, Normalization},
    engine::{
        allocation::{Counting, peak_bytes, reset_peak, set_counting},
        optim::Optimizer,
        precision::Precision,
    },
    stages::{
        ComponentConfig, Session,
        feeds::{Feed, targets::hard_targets},
        networks::Network,
        recover,
        teachers::{FIRST, Teachers},
        training::{Tested, TrainConfig, Training},
        views::Images,
    },
};
use candle_core::{DType, Device};
use plugin_api::{
    Ctx, Tensor, architecture::InputShape, loss::Targets, tensor::BatchNormMode, view::View,
};
use serde_json::json;
use support::network::{FilledNetwork, derivatives, shipped_plugins};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test at a time: the count is the process's.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Steps of which the first peak is taken, after buffers that are kept have been made.
const EARLY: Range<usize> = 20..120;
const LATE: Range<usize> = 900..1000;

/// The peaks of two stretches of a loop.
#[derive(Default)]
struct Peaks {
    step: usize,
    early: Option<i64>,
    late: Option<i64>,
}

impl Peaks {
    /// Told before each step, and after the last.
    fn before_step(&mut self) {
        for (range, peak) in [(EARLY, &mut self.early), (LATE, &mut self.late)] {
            if self.step == range.start {
                reset_peak();
            }
            if self.step == range.end {
                *peak = Some(peak_bytes());
            }
        }
        self.step += 1;
    }

    #[track_caller]
    fn assert_flat(&self) {
        let early = self.early.expect("more steps than the first stretch has");
        let late = self.late.expect("more steps than the last stretch has");
        println!("peak bytes: steps {EARLY:?} {early}, steps {LATE:?} {late}");
        assert!(early > 0, "nothing was counted");
        assert!(
            (late - early).abs() * 100 <= early,
            "the peak of steps {EARLY:?} is {early} bytes, that of steps {LATE:?} is {late}, expected equal within 1 %"
        );
    }
}

/// A run on the committed digits, 8 x 8 pixels, alone and counted from zero.
fn with_session(work: impl FnOnce(&Session<'_>)) {
    let _alone = alone();
    set_counting(false);
    set_counting(true);
    let registry = shipped_plugins();
    let data = json!({
        "format": "parquet", "train": "train-*.parquet", "test": "test-*.parquet", "resolution": 8,
        "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25],
    });
    let config: Config = serde_json::from_value(data).expect("a table of data");
    let digits = support::project().join("experiments/data/digits");
    let (train, test) = Dataset::open_both(&config, &digits).expect("the digits");
    let train = Arc::new(train);
    let dir = tempfile::tempdir().expect("a temporary folder");
    let folder = RunFolder::at(dir.path());
    let normalization = Normalization::resolve(&config, &train).expect("given above");
    work(&Session {
        registry: &registry,
        folder: &folder,
        seed: 0,
        device: Device::Cpu,
        precision: Precision::default(),
        checkpoint_secs: 3600.,
        train: &train,
        test: &test,
        inputs: normalization.into(),
        share: None,
        team: None,
    });
}

fn network(session: &Session<'_>) -> Network {
    let params = json!({"depth": 2, "width": 16, "norm": "batch"});
    let convnet = ComponentConfig::with("convnet", params);
    let device = &session.device;
    let built = Network::build(session.registry, &convnet, session.input(), device);
    let mut network = built.expect("a network");
    network.init(0, 0, device).expect("initial weights");
    network
}

/// The training images, whole, and a look at the memory before each step.
struct Watched<'a> {
    images: &'a Dataset,
    peaks: Peaks,
}

const BATCH: usize = 32;
const STEPS_PER_EPOCH: usize = 40;

impl Feed for Watched<'_> {
    fn views(&mut self, epoch: u32) -> anyhow::Result<Vec<View>> {
        let first = epoch as usize * BATCH * STEPS_PER_EPOCH;
        let rows = first..first + BATCH * STEPS_PER_EPOCH;
        let whole = |row: usize| View::whole((row % self.images.len()) as u32, 8);
        Ok(rows.map(whole).collect())
    }

    fn targets(
        &mut self,
        _epoch: u32,
        views: &[View],
        _rows: Range<usize>,
        ctx: &Ctx,
    ) -> anyhow::Result<Targets> {
        self.peaks.before_step();
        let set = (self.images.labels(), self.images.resolution());
        hard_targets(views, set, ctx, &Device::Cpu)
    }

    fn images(&self) -> &dyn Images {
        self.images
    }
}

#[test]
fn a_thousand_training_steps() {
    with_session(|session| {
        let epochs = LATE.end / STEPS_PER_EPOCH + 1;
        let config: TrainConfig = serde_json::from_value(json!({
            "epochs": epochs, "batch_size": BATCH, "evaluate_every": epochs, "decay": "all",
            "optimizer": {"kind": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4},
            "schedule": {"kind": "cosine"},
        }))
        .expect("a table of training");
        let loss = session.registry.create_loss("cross-entropy", &json!({}));
        let mut feed = Watched {
            images: session.train,
            peaks: Peaks::default(),
        };
        let training = Training {
            session,
            stage: Stage::Squeeze,
            name: "training".to_owned(),
            folder: &session.folder.stage(Stage::Squeeze),
            config: &config,
            loss: &loss.expect("a loss"),
            tested: Tested::default(),
            after_epoch: None,
        };
        let done = training.run(&mut network(session), &mut feed);
        let scores = done.expect("a training");
        assert!(scores.top1_last > 50., "{scores:?}: it did not train");
        feed.peaks.assert_flat();
    });
}

#[test]
fn a_thousand_recover_steps() {
    with_session(|session| {
        let config: recover::Config = serde_json::from_value(json!({
            "images_per_class": 2, "batch_size": 20, "iterations": LATE.end,
            "regularizers": [
                {"plugin": "bn-stats", "weight": 0.01},
                {"plugin": "image-prior", "weight": 1.0, "params": {"tv_l2": 1e-4, "l2": 1e-5}},
            ],
            "roll": {"min": -1, "end": 2},
        }))
        .expect("a table of recover");
        let teachers = Teachers::new(vec![(FIRST.to_owned(), network(session))]);
        let stepper = recover::Stepper::new(session, &config, &teachers).expect("components");
        let labels = config.origin().labels(session.train.num_classes());
        let images = config
            .origin()
            .initial_images(session, 0..labels.len(), None);
        let mut canvas = images.expect("noise");
        let mut optimizer = Optimizer::new(config.optimizer.clone(), &[canvas.dims().to_vec()]);
        let (mut peaks, mut totals) = (Peaks::default(), Vec::with_capacity(LATE.end));
        for iteration in 0..LATE.end as u64 {
            peaks.before_step();
            let terms = stepper.step(
                &mut canvas,
                &mut optimizer,
                &labels,
                0,
                iteration,
                &recover::Shown::default(),
            );
            totals.push(terms.expect("a step").total);
        }
        peaks.before_step();
        let mean = |range: Range<usize>| totals[range].iter().sum::<f64>() / 100.;
        let (early, late) = (mean(EARLY), mean(LATE));
        assert!(late < early, "nothing was recovered: {early}, then {late}");
        peaks.assert_flat();
    });
}

/// What Rust gives a thread, those of tests and of the pool among them.
const STACK_BYTES: usize = 2 << 20;
const UNROLLED: usize = 50;

/// The loss on `x` after fifty steps of gradient descent on `x`.
fn unrolled_loss(net: &FilledNetwork, x: &Tensor) -> plugin_api::Result<Tensor> {
    let lr = net.ctx.tensor(&[0.02], &[])?;
    let mut params = net.leaves()?;
    for _ in 0..UNROLLED {
        params = net.descend(&params, x, &lr)?;
    }
    net.cross_entropy(&net.forward(&params, x, BatchNormMode::TRAIN)?)
}

/// How fast that loss grows along its derivative: as the derivative says, and by a difference.
fn slopes(net: &FilledNetwork) -> plugin_api::Result<[f64; 2]> {
    let x = net.images(2)?.leaf()?;
    let by_x = derivatives(&unrolled_loss(net, &x)?, &[&x], false)?.remove(0);
    let length = by_x.norm_all()?.to_scalar()?;
    let at = |distance: f64| {
        let moved = (&x + by_x.affine(distance / length, 0.))?;
        unrolled_loss(net, &moved)?.to_scalar()
    };
    // An unrolled step jumps where a ReLU switches, so that the difference must be small enough to meet none.
    let distance = 1e-7;
    let difference = (at(distance)? - at(-distance)?) / (2. * distance);
    Ok([length, difference])
}

#[test]
fn fifty_unrolled_steps_on_a_small_stack() {
    let _alone = alone();
    let work = || {
        let input = InputShape {
            channels: 3,
            height: 16,
            width: 16,
            classes: 10,
        };
        let convnet = json!({"depth": 3, "width": 8, "norm": "instance"});
        let component = ("convnet", &convnet);
        let net = FilledNetwork::new(&shipped_plugins(), component, input, DType::F64, 1.);
        net.and_then(|net| slopes(&net)).expect("two slopes")
    };
    let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn(work);
    let done = thread.expect("a thread").join();
    let [slope, difference] = done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    println!("slope {slope}, by differences {difference}");
    assert!(
        slope > 0. && (difference - slope).abs() < 1e-4 * slope,
        "{slope} {difference}"
    );
}

//! Against torchvision's AlexNet and DC's networks in PyTorch: the number of parameters, and the logits from weights that are filled by
//! name.

use plugin_api::{
    prelude::*,
    testing::{Reference, check_parity},
};

use crate::{
    LeNet, Mlp,
    alexnet::{AlexNet, Form},
};

fn check(architecture: &impl Architecture, side: usize, parameters: usize, logits: &[f64]) {
    let expected = Reference {
        image: [3, side, side],
        gain: 1.,
        parameters,
        logits,
    };
    check_parity(architecture, &expected).unwrap();
}

// u = lambda name, shape: the same numbers as a torch.float64 tensor; model = torchvision.models.alexnet(num_classes=10)
// model.double().eval(); model.load_state_dict({k: ... for k, v in model.state_dict().items()})
// model(1.5 * u("input", (1, 3, 64, 64)))[0].tolist()
const IMAGENET: [f64; 10] = [
    0.20308773937562827,
    0.3355738428179146,
    -0.02419924064097779,
    0.3052891244716972,
    -0.0014354172876555604,
    0.1667560568222471,
    -0.14077563103086863,
    -0.11938475046529565,
    0.19100797804414274,
    -0.2384669362377902,
];

#[test]
fn alexnet_is_torchvisions() {
    let (form, width) = (Some(Form::Imagenet), 64);
    check(&AlexNet { form, width }, 64, 57_044_810, &IMAGENET);
}

// In the same way, at 32 pixels, of
// conv = lambda i, o, k: [nn.Conv2d(i, o, k, padding=k // 2), nn.ReLU()]; pool = [nn.MaxPool2d(2)]
// model.features = nn.Sequential(*conv(3, 128, 5), *pool, *conv(128, 192, 5), *pool, *conv(192, 256, 3), *conv(256, 192, 3),
//                                *conv(192, 192, 3), *pool); model.fc = nn.Linear(3072, 10)
// lambda x: model.fc(model.features(x).flatten(1))
const SMALL: [f64; 10] = [
    -0.5338373580863226,
    -0.26916335676173375,
    0.025458407662777745,
    -0.20553969706799938,
    0.5754556511793633,
    -0.15799580265620355,
    0.2074822385253435,
    -0.19547654205519582,
    0.025096620954528227,
    0.08843803728996791,
];

#[test]
fn small_alexnet_is_dcs() {
    let (form, width) = (Some(Form::Small), 64);
    check(&AlexNet { form, width }, 32, 1_872_202, &SMALL);
}

// model.features = nn.Sequential(nn.Conv2d(3, 6, 5), nn.ReLU(), *pool, nn.Conv2d(6, 16, 5), nn.ReLU(), *pool)
// model.fc_1, model.fc_2, model.fc_3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)
// lambda x: model.fc_3(model.fc_2(model.fc_1(model.features(x).flatten(1)).relu()).relu())
const LENET: [f64; 10] = [
    0.3987115560984559,
    -0.15768128665379405,
    0.3453247281013991,
    0.37651529827175867,
    0.011648510508624949,
    -0.09655757523930343,
    0.066682788291041,
    0.10580066777979169,
    -0.5291486722855722,
    0.4257661676424106,
];

#[test]
fn lenet_is_dcs() {
    check(&LeNet {}, 32, 62_006, &LENET);
}

// model.fc_1, model.fc_2, model.fc_3 = nn.Linear(3072, 128), nn.Linear(128, 128), nn.Linear(128, 10)
// lambda x: model.fc_3(model.fc_2(model.fc_1(x.flatten(1)).relu()).relu())
const MLP: [f64; 10] = [
    0.009971464596587348,
    0.2442819051865674,
    -0.011007598773144403,
    -0.35624242066567224,
    0.10152561838779052,
    -0.3725680260086751,
    0.13446404806749135,
    -0.540326144390542,
    0.1222217284825374,
    -0.3991160390640449,
];

#[test]
fn mlp_is_dcs() {
    check(&Mlp { width: 128 }, 32, 411_146, &MLP);
}

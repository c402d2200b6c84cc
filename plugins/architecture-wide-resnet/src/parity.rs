//! Against RepDistiller's network in PyTorch: the number of parameters, and the logits from weights that are filled by name.

use plugin_api::testing::{Reference, check_parity};

use crate::WideResNet;

// class Block(nn.Module):
//     def __init__(self, cin, c, stride):
//         super().__init__()
//         self.bn1, self.conv1 = nn.BatchNorm2d(cin), nn.Conv2d(cin, c, 3, stride, 1, bias=False)
//         self.bn2, self.conv2 = nn.BatchNorm2d(c), nn.Conv2d(c, c, 3, 1, 1, bias=False)
//         self.convShortcut = None if cin == c else nn.Conv2d(cin, c, 1, stride, bias=False)
//     def forward(self, x):
//         h = self.bn1(x).relu()
//         short = x if self.convShortcut is None else self.convShortcut(h)
//         return short + self.conv2(self.bn2(self.conv1(h)).relu())
// class Group(nn.Module):
//     def __init__(self, n, cin, c, stride):
//         super().__init__()
//         self.layer = nn.Sequential(*[Block(c if i else cin, c, 1 if i else stride) for i in range(n)])
//     def forward(self, x): return self.layer(x)
// class Wrn(nn.Module):
//     def __init__(self, depth, widen):
//         super().__init__()
//         n, c = (depth - 4) // 6, [16 * widen, 32 * widen, 64 * widen]
//         self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
//         self.block1, self.block2, self.block3 = Group(n, 16, c[0], 1), Group(n, c[0], c[1], 2), Group(n, c[1], c[2], 2)
//         self.bn1, self.fc = nn.BatchNorm2d(c[2]), nn.Linear(c[2], 10)
//     def forward(self, x):
//         h = self.block3(self.block2(self.block1(self.conv1(x))))
//         return self.fc(self.bn1(h).relu().mean((2, 3)))
// u = lambda name, shape: the same numbers as a torch.float64 tensor; model = Wrn(16, 2), Wrn(22, 1)
// model.load_state_dict({k: ... for k, v in model.state_dict().items()}); model.double().eval()
// model(1.5 * u("input", (1, 3, 32, 32)))[0].tolist()
const WRN_16_2: [f64; 10] = [
    -0.04543777828632088,
    -0.6116529164469977,
    -1.1476410983310257,
    -0.25873064494680337,
    0.9219297478639332,
    -0.4857979119076442,
    -0.07065573904266945,
    -0.6082732930767631,
    -0.5042272531773225,
    0.5633256674069723,
];
const WRN_22_1: [f64; 10] = [
    0.8594264470039352,
    -0.12861146307795654,
    0.5081408481686992,
    -0.34559133999778674,
    0.471190265829091,
    -0.06665017530388034,
    1.563689754426777,
    -1.4875571651283956,
    1.5195774602544208,
    -0.011918620755926895,
];

#[test]
fn logits_are_pytorchs() {
    for (depth, widen, parameters, logits) in
        [(16, 2, 691_674, WRN_16_2), (22, 1, 272_282, WRN_22_1)]
    {
        let expected = Reference {
            image: [3, 32, 32],
            gain: 1.,
            parameters,
            logits: &logits,
        };
        check_parity(&WideResNet { depth, widen }, &expected).unwrap();
    }
}

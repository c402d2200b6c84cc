//! Vision transformers (Dosovitskiy et al., ICLR 2021) as timm builds them, and with BatchNorm (Yao et al., ICCVW 2021), which
//! gives SRe2L statistics to match.

mod block;

use plugin_api::{nn::ParamId, prelude::*};

use crate::block::{Block, Normed, dense};

/// Width and heads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Size {
    /// 192 channels, 3 heads
    #[default]
    Tiny,
    /// 384 channels, 6 heads
    Small,
}

/// How tokens are normalised.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum TokenNorm {
    /// LayerNorm
    #[default]
    Layer,
    /// BatchNorm of tokens instead, and one more inside each MLP; needed by bn-stats
    Batch,
}

/// Patches as tokens behind a class token, encoder blocks, and a linear layer on the class token.
///
/// Parameters are named as in timm: `cls_token`, `pos_embed`, `patch_embed.proj`, `blocks.0.norm1`, `blocks.0.attn.qkv`, ..,
/// `norm`, `head`; `blocks.0.mlp.norm` with BatchNorm. The class token at the end is tapped as `embedding`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Vit {
    /// Width and heads: "tiny" or "small"
    #[serde(default)]
    size: Size,
    /// Side of a patch in pixels, at least 1; must divide height and width
    #[serde(default = "sixteen")]
    #[schemars(range(min = 1))]
    patch: usize,
    /// Encoder blocks, 1 to 1,000
    #[serde(default = "twelve")]
    #[schemars(range(min = 1, max = 1000))]
    depth: usize,
    /// Norm of the tokens: "layer", or "batch" for BN-ViT
    #[serde(default)]
    norm: TokenNorm,
}

fn sixteen() -> usize {
    16
}

fn twelve() -> usize {
    12
}

impl Architecture for Vit {
    fn build(&self, input: &InputShape, p: &ParamBuilder) -> Result<Box<dyn Module>> {
        let Self {
            patch, depth, norm, ..
        } = *self;
        let (width, heads) = match self.size {
            Size::Tiny => (192, 3),
            Size::Small => (384, 6),
        };
        ensure!(depth > 0, "vit.depth: expected at least 1, got 0");
        let [height, columns] = [input.height, input.width];
        ensure!(
            patch > 0 && height % patch == 0 && columns % patch == 0,
            "vit.patch: expected a divisor of the image's {height} x {columns} pixels, got {patch}"
        );
        let tokens = 1 + (height / patch) * (columns / patch);
        let normal = |std| Init::Normal { std };
        let cls_token = p.param("cls_token", &[1, 1, width], normal(1e-6))?;
        let pos_embed = p.param("pos_embed", &[1, tokens, width], normal(0.02))?;
        let options = ConvOptions::new(Conv2dConfig::default().with_stride(patch));
        let proj = p.pp("patch_embed").pp("proj");
        let patches = Conv2d::new(&proj, input.channels, width, patch, options)?;
        let blocks = p.pp("blocks");
        let blocks = (0..depth).map(|i| Block::new(&blocks.pp(i), norm, width, heads));
        Ok(Box::new(Network {
            cls_token,
            pos_embed,
            patches,
            blocks: blocks.collect::<Result<_>>()?,
            norm: Normed::new(&p.pp("norm"), norm, width)?,
            head: dense(&p.pp("head"), width, input.classes)?,
        }))
    }
}

struct Network {
    cls_token: ParamId,
    pos_embed: ParamId,
    patches: Conv2d,
    blocks: Vec<Block>,
    norm: Normed,
    head: Linear,
}

impl Module for Network {
    fn forward(&self, params: &Params, x: &Tensor, _ctx: &Ctx) -> Result<Tensor> {
        let patches = self.patches.forward(params, x)?.flatten_from(2)?; // [N, width, patches]
        let patches = patches.transpose(1, 2)?;
        let [n, _, width] = patches.dims()?;
        let class = params.get(self.cls_token)?.broadcast_as(&[n, 1, width])?;
        let mut h = (Tensor::cat(&[&class, &patches], 1)? + params.get(self.pos_embed)?)?;
        for block in &self.blocks {
            h = block.forward(params, &h)?;
        }
        let h = self.norm.forward(params, &h)?;
        let embedding = h.narrow(1, 0, 1)?.reshape(&[n, width])?;
        params.tap("embedding", &embedding);
        self.head.forward(params, &embedding)
    }
}

export_plugin! { architecture "vit": Vit = "ViT tiny and small with timm's names, or with BatchNorm (BN-ViT)" }

#[cfg(test)]
mod tests {
    use super::*;
    use plugin_api::{component::parse_options, nn::ModuleSpec, serde_json::json, testing};

    fn spec(options: &str, side: usize) -> Result<ModuleSpec> {
        let p = ParamBuilder::new();
        let input = InputShape {
            channels: 3,
            height: side,
            width: side,
            classes: 1000,
        };
        parse_options::<Vit>(options)?.build(&input, &p)?;
        Ok(p.spec())
    }

    fn parameters(options: &str) -> usize {
        let params = spec(options, 224).unwrap().params;
        let learned = params.iter().filter(|p| p.trainable);
        learned.map(|p| p.shape.iter().product::<usize>()).sum()
    }

    // sum(p.numel() for p in timm.create_model(name).parameters()): vit_tiny_patch16_224, vit_small_patch16_224
    #[test]
    fn parameter_counts_are_timms() {
        assert_eq!(parameters("{}"), 5_717_416);
        assert_eq!(parameters(r#"{"size": "small"}"#), 22_050_664);
        // Every LayerNorm replaced, 768 more scales and shifts in each of 12 MLPs.
        assert_eq!(parameters(r#"{"norm": "batch"}"#), 5_717_416 + 12 * 2 * 768);
    }

    #[test]
    fn nonsense_is_refused() {
        let error = |options| spec(options, 40).err().unwrap().to_string();
        assert_eq!(
            error("{}"),
            "vit.patch: expected a divisor of the image's 40 x 40 pixels, got 16"
        );
        assert_eq!(
            error(r#"{"patch": 8, "depth": 0}"#),
            "vit.depth: expected at least 1, got 0"
        );
    }

    #[test]
    fn keeps_the_contract() {
        let check = testing::check_architecture::<Vit>;
        check("vit", json!({"depth": 1})).unwrap();
        check("vit", json!({"depth": 1, "norm": "batch"})).unwrap();
    }
}

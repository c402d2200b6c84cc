//! Bilinear crops.

use plugin_api::tensor::Resample;

use super::{
    Lent, answers,
    call::{Call, Fault, Outputs, check_planes},
    precision::Class,
};
use crate::engine::ops::{CropBox, crop_resize};

answers! {
    Resample, call;
    Class::Single, CropResize { size, boxes } => {
        let x = call.float_input(0)?;
        check_planes(x, *size)?;
        let boxes = boxes.iter().map(|b| CropBox { top: b.top, left: b.left, height: b.height, width: b.width });
        crop_resize(x, &boxes.collect::<Vec<_>>(), size[0], size[1])?
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::ops::derivatives::{Case, Cases, Input::Free, case};

    impl Cases for Resample {
        fn cases() -> Vec<Case> {
            let x = [Free(&[2, 2, 5, 7])];
            let boxed = |[top, left, height, width]: [f64; 4]| plugin_api::tensor::CropBox {
                top,
                left,
                height,
                width,
            };
            let one = vec![boxed([1.0, 0.0, 3.0, 5.0])];
            let each = vec![boxed([0.0, 1.0, 5.0, 4.0]), boxed([1.3, 0.2, 2.5, 5.1])];
            let mut cases = Vec::new();
            for size in [[3, 5], [7, 4], [2, 9]] {
                for boxes in [one.clone(), each.clone()] {
                    cases.push(case(Self::CropResize { size, boxes }, &x));
                }
            }
            cases
        }
    }
}

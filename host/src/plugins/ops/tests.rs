//! The lent operations, called as plugins call them: through handles, and raw with nonsense.

use candle_core::{DType, Device};
use plugin_api::{
    rng::{Rng, StreamId},
    tensor::{BatchNormMode, Conv2dConfig, CropBox, DType as Code, Pool2dConfig},
};

use super::*;

fn handle(values: &[f64], dims: &[usize]) -> Handle {
    export(Tensor::leaf(
        Tensor::from_vec(values.to_vec(), dims, &Device::Cpu)
            .unwrap()
            .into_value(),
    ))
}

fn ramp(dims: &[usize]) -> Handle {
    let count: usize = dims.iter().product();
    handle(
        &(0..count)
            .map(|i| (i as f64 * 0.7).sin())
            .collect::<Vec<_>>(),
        dims,
    )
}

fn zeros(dims: &[usize], dtype: DType) -> Handle {
    export(Tensor::zeros(dims, dtype, &Device::Cpu).unwrap())
}

/// One raw call, as a plugin of any version could make it.
fn raw(
    op: u32,
    inputs: &[&Handle],
    ints: &[i64],
    floats: &[f64],
    outputs: usize,
) -> plugin_api::Result<Vec<Option<Handle>>> {
    let raws: Vec<RawTensor> = inputs.iter().map(|t| t.raw()).collect();
    let attrs = Attrs {
        ints: ints.into(),
        floats: floats.into(),
    };
    let mut made = vec![RawTensor::NULL; outputs];
    // SAFETY: the handles are live.
    unsafe {
        dispatch(
            op,
            raws.as_slice().into(),
            &attrs,
            made.as_mut_slice().into(),
        )
    }
    .into_result()?;
    // SAFETY: outputs are owned handles or null.
    let own =
        |raw: RawTensor| (!raw.0.is_null()).then(|| unsafe { Handle::from_raw(raw, table()) });
    Ok(made.into_iter().map(own).collect())
}

#[test]
fn every_operation_is_there() {
    for row in Operation::rows() {
        let error = raw(row.number, &[], &[], &[], 1).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::TENSOR, "{}: {error}", row.name);
    }
    let error = raw(999, &[&ramp(&[2])], &[], &[], 1).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::UNSUPPORTED);
    let [major, minor] = plugin_api::abi::API_VERSION;
    assert_eq!(
        error.to_string(),
        format!(
            "this host (plugin API {major}.{minor}) has no tensor op #999; the plugin needs a newer one"
        )
    );
}

#[test]
fn nonsense_is_answered_with_errors() {
    let (f32s, f64s) = (zeros(&[2, 3, 4, 4], DType::F32), ramp(&[2, 3, 4, 4]));
    let tensors = [
        ramp(&[]),
        ramp(&[3]),
        ramp(&[3, 3]),
        f64s,
        f32s,
        ramp(&[2, 3, 1, 1]),
        ramp(&[1; 8]),
        zeros(&[0, 3], DType::F64),
        zeros(&[3], DType::U32),
        zeros(&[3, 3], DType::U8),
        zeros(&[2], DType::I64),
        zeros(&[2, 2], DType::F16),
    ];
    let ints = [
        -1,
        0,
        0,
        1,
        1,
        2,
        3,
        4,
        7,
        i64::from(i32::MAX),
        i64::MAX,
        i64::MIN,
    ];
    let floats = [0., 1., -1., 0.5, 4., f64::NAN, f64::INFINITY, 1e300];
    let mut rng = Rng::new(0, "test", "nonsense", StreamId::default());
    for row in Operation::rows() {
        let op = row.number;
        let mut done = 0;
        for _ in 0..1000 {
            let pick = |rng: &mut Rng, count: usize| rng.below(count as u32) as usize;
            let inputs: Vec<&Handle> = (0..pick(&mut rng, 7))
                .map(|_| &tensors[pick(&mut rng, tensors.len())])
                .collect();
            let ints: Vec<i64> = (0..pick(&mut rng, 9))
                .map(|_| ints[pick(&mut rng, ints.len())])
                .collect();
            let floats: Vec<f64> = (0..pick(&mut rng, 9))
                .map(|_| floats[pick(&mut rng, floats.len())])
                .collect();
            // Attributes that nobody reads are refused; most draws go without them.
            let fits =
                |&(i, f): &(usize, usize)| Operation::read(op, &ints[..i], &floats[..f]).is_ok();
            let floats_up_to = floats.len();
            let mut counts = (0..=ints.len()).flat_map(|i| (0..=floats_up_to).map(move |f| (i, f)));
            let all = (ints.len(), floats.len());
            let (i, f) = match pick(&mut rng, 4) {
                0 => all,
                _ => counts.rfind(fits).unwrap_or(all),
            };
            let (ints, floats) = (&ints[..i], &floats[..f]);
            let outputs = 1 + pick(&mut rng, 3);
            match raw(op, &inputs, ints, floats, outputs) {
                Ok(_) => done += 1,
                Err(error) => {
                    assert_eq!(
                        error.kind(),
                        ErrorKind::TENSOR,
                        "{} {ints:?} {floats:?}: {error}",
                        row.name
                    );
                    assert_eq!(error.to_string().lines().count(), 1, "{error}");
                }
            }
        }
        // Elementwise operations are done for many of these; a test that only sees refusals would show nothing.
        assert!(row.name != "exp" || done > 50, "{done}");
    }
}

#[test]
fn errors_name_operation_types_and_shapes() {
    let told = |error: plugin_api::Result<Handle>| error.err().unwrap().to_string();
    assert_eq!(
        told(ramp(&[2, 3]).matmul(&ramp(&[4, 5]))),
        "matmul(f64 [2, 3], f64 [4, 5]): expected (..., m, k) and (..., k, n), got [2, 3] and [4, 5]"
    );
    let huge = told(ramp(&[1 << 17, 1]).broadcast_add(&ramp(&[1, 1 << 17])));
    assert!(
        huge.contains("add(f64 [131072, 1], f64 [1, 131072])") && huge.contains("more than"),
        "{huge}"
    );
    assert!(
        told(zeros(&[3], DType::U32).exp())
            .contains("exp(u32 [3]): input 0 is of type u32, expected a float")
    );
    let far = handle(&[0.], &[1]).new_u32(&[7], &[1]).unwrap();
    assert!(
        told(ramp(&[3]).index_select(&far, 0))
            .contains("index 7 is out of range for a dimension of size 3")
    );
    assert!(told(ramp(&[3]).slice(0, 2, 1, 1)).contains("range 2..1 of dimension 0"));
}

#[test]
fn values_cross_in_every_type() {
    let x = handle(&[-1.5, 0., 2.], &[3]);
    for code in [Code::F32, Code::F64, Code::F16, Code::BF16] {
        let converted = x.to_dtype(code).unwrap();
        assert_eq!(
            (converted.dtype(), converted.to_vec_f64().unwrap()),
            (code, vec![-1.5, 0., 2.])
        );
        let bytes = transfer::to_bytes(import(&converted).unwrap(), code).unwrap();
        let back = transfer::from_bytes(&bytes, code, &[3, 1], &Device::Cpu).unwrap();
        assert_eq!(
            (back.dims(), back.to_f64_vec().unwrap()),
            (&[3, 1][..], vec![-1.5, 0., 2.])
        );
    }
    assert_eq!(
        x.new_i64(&[-7, 7], &[2]).unwrap().to_vec_i64().unwrap(),
        [-7, 7]
    );
    assert_eq!(
        x.new_u8(&[1, 0], &[2]).unwrap().to_vec_u8().unwrap(),
        [1, 0]
    );
    assert_eq!(x.new_u32(&[9], &[]).unwrap().shape(), [0; 0]);
    assert!(
        x.to_dtype(Code(77))
            .err()
            .unwrap()
            .to_string()
            .contains("unknown element type #77")
    );
    assert!(transfer::from_bytes(&[0; 7], Code::F32, &[2], &Device::Cpu).is_err());
    assert!(transfer::from_bytes(&[], Code::F32, &[usize::MAX, 2], &Device::Cpu).is_err());
}

#[test]
fn operations_mean_what_they_say() {
    let x = handle(&[1., -2., 3., 0.5, 0., -1.], &[2, 3]);
    let values = |t: plugin_api::Result<Handle>| t.unwrap().to_vec_f64().unwrap();
    assert_eq!(values(x.slice(1, 0, 3, 2)), [1., 3., 0.5, -1.]);
    assert_eq!(
        values(x.var(&[1], true)),
        values(
            (&x - x.mean_keepdim(&[1]))
                .unwrap()
                .sqr()
                .unwrap()
                .sum(&[1])
                .unwrap()
                / 2.
        )
    );
    assert_eq!(values(x.sum_keepdim(&[0])), [1.5, -2., 2.]);
    assert_eq!(values(x.max(1)), [3., 0.5]);
    assert_eq!(values(x.argmin(1)), [1., 2.]);
    assert_eq!(values(x.roll(1, 1)), [3., 1., -2., -1., 0.5, 0.]);
    assert_eq!(
        values(x.pad(1, 0, 1, 9.)),
        [1., -2., 3., 9., 0.5, 0., -1., 9.]
    );
    assert_eq!(values(x.clamp(-1., 1.)), [1., -1., 1., 0.5, 0., -1.]);
    assert_eq!(
        values(x.lt(&x.zeros_like().unwrap())),
        [0., 1., 0., 0., 0., 1.]
    );
    let (top, at) = x.topk(2).unwrap();
    assert_eq!(
        (values(Ok(top)), values(Ok(at))),
        (vec![3., 1., 0.5, 0.], vec![2., 0., 0., 1.])
    );
    assert_eq!(Handle::stack(&[&x, &x], 1).unwrap().shape(), [2, 2, 3]);
    assert_eq!(Handle::cat(&[&x, &x], 1).unwrap().shape(), [2, 6]);
}

#[test]
fn networks_run_through_handles() {
    let x = ramp(&[2, 4, 6, 6]);
    let conv = Conv2dConfig {
        groups: 2,
        ..Conv2dConfig::padded(1).with_stride(2)
    };
    assert_eq!(
        x.conv2d(&ramp(&[6, 2, 3, 3]), conv).unwrap().shape(),
        [2, 6, 3, 3]
    );
    assert_eq!(
        x.max_pool2d(Pool2dConfig::square(2)).unwrap().shape(),
        [2, 4, 3, 3]
    );
    assert_eq!(
        x.avg_pool2d(Pool2dConfig::square(3)).unwrap().shape(),
        [2, 4, 2, 2]
    );
    assert_eq!(x.adaptive_avg_pool2d(1, 1).unwrap().shape(), [2, 4, 1, 1]);
    let boxes = [CropBox {
        top: 0.5,
        left: 1.,
        height: 3.,
        width: 4.,
    }];
    assert_eq!(x.crop_resize(&boxes, 5, 7).unwrap().shape(), [2, 4, 5, 7]);
    let (one, zero) = (
        ramp(&[4]).ones_like().unwrap(),
        ramp(&[4]).zeros_like().unwrap(),
    );
    let norm = |mode| {
        x.batch_norm(&one, &zero, &zero, &one, mode, 1e-5, true, Some(&x))
            .unwrap()
    };
    assert!(norm(BatchNormMode::EVAL).mean.is_none());
    assert!(
        norm(BatchNormMode::RECOVER)
            .var
            .unwrap()
            .is_tracked()
            .unwrap()
    );
    assert_eq!(
        x.group_norm(2, &one, &zero, 1e-5, false).unwrap().shape(),
        x.shape()
    );
}

#[test]
fn gradients_of_gradients_cross() {
    let x = handle(&[1., 2., 3.], &[3]);
    let cube = (x.sqr().unwrap() * &x).unwrap().sum_all().unwrap();
    let first = plugin_api::grad(&cube, &[&x], true)
        .unwrap()
        .remove(0)
        .unwrap();
    assert_eq!(first.to_vec_f64().unwrap(), [3., 12., 27.]);
    let second = plugin_api::grad(&first.sum_all().unwrap(), &[&x], false)
        .unwrap()
        .remove(0)
        .unwrap();
    assert_eq!(second.to_vec_f64().unwrap(), [6., 12., 18.]);
    assert!(!second.is_tracked().unwrap());
    let other = x.leaf().unwrap();
    assert!(plugin_api::grad(&cube, &[&other], false).unwrap()[0].is_none());
    let constant = x.detach().unwrap();
    let error = plugin_api::grad(&cube, &[&constant], false)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("not tracked"), "{error}");
}

#[test]
fn a_tensor_of_another_host_is_refused() {
    let other = make_vtable(HostVTable {
        clone: clone_raw,
        drop: drop_raw,
        shape: shape_raw,
        dtype: dtype_raw,
        dispatch,
        to_host,
        from_host,
        custom: custom_op,
    });
    let tensor = Tensor::zeros(&[2], DType::F32, &Device::Cpu).unwrap();
    // SAFETY: the handle is fresh and owned, and the other table has the same functions.
    let foreign = unsafe { Handle::from_raw(into_raw(tensor), other) };
    assert!(
        import(&foreign)
            .err()
            .unwrap()
            .to_string()
            .starts_with("a tensor from another host")
    );
    let error = ramp(&[2])
        .broadcast_add(&foreign)
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("two different hosts"), "{error}");
}

#[test]
fn handles_count_their_owners() {
    let tensor = Tensor::zeros(&[2], DType::F32, &Device::Cpu).unwrap();
    let first = export(tensor);
    let owners = |h: &Handle| {
        // SAFETY: the handle is live, and the counted pointer is given back at once.
        let counted =
            std::mem::ManuallyDrop::new(unsafe { Arc::from_raw(h.raw().0.cast::<Tensor>()) });
        Arc::strong_count(&counted)
    };
    let second = first.clone();
    assert_eq!(owners(&first), 2);
    drop(second);
    assert_eq!(owners(&first), 1);
}

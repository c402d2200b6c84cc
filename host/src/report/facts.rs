//! Single figures of a report with what they are called, and what each stage cost.

use minijinja::{Value, context};

use super::{
    summary::{StageStatus, Summary},
    units::{human_bytes, human_count, human_duration},
};

pub(super) fn run_facts(summary: &Summary) -> Vec<Value> {
    let started = summary.started.as_deref();
    let finished = summary.finished.as_deref().unwrap_or("not yet");
    let mut facts = vec![
        fact("seed", summary.seed.to_string()),
        fact("device", summary.device.as_str()),
    ];
    facts.extend(started.map(|time| fact("started", time)));
    facts.push(fact("finished", finished));
    facts
}

/// How well the distilled images answer what was asked of them.
pub(super) fn recover_facts(summary: &Summary) -> Vec<Value> {
    let mut facts = Vec::new();
    if let Some(teacher) = &summary.teacher {
        facts.push(fact("teacher", teacher.architecture.as_str()));
        if let Some(parameters) = teacher.parameters {
            facts.push(fact("parameters", human_count(parameters)));
        }
        let accuracy = format!("{:.1} %", teacher.top1);
        facts.push(fact("teacher on test images", accuracy));
        if let Some(top5) = teacher.top5 {
            facts.push(fact("its top-5", format!("{top5:.1} %")));
        }
    }
    let Some(recover) = &summary.recover else {
        return facts;
    };
    let accuracy = format!("{:.1} %", recover.teacher_accuracy_on_distilled);
    facts.push(fact("teacher on distilled images", accuracy));
    if let (Some(first), Some(last)) = (
        recover.bn_statistics_loss_first,
        recover.bn_statistics_loss_last,
    ) {
        let change = format!("{} → {}", figure(first), figure(last));
        facts.push(fact("BatchNorm-statistics loss", change));
    }
    for (term, value) in &recover.loss_terms_last {
        facts.push(fact(&format!("last {term}"), figure(*value)));
    }
    facts.push(fact("iterations", human_count(recover.iterations)));
    let time = human_duration(recover.seconds_per_image);
    facts.push(fact("time per image", time));
    facts
}

pub(super) fn costs(summary: &Summary, total_secs: f64) -> Vec<Value> {
    (summary.stages.iter())
        .map(|stage| {
            context! {
                stage => stage.stage.clone(),
                status => match (stage.status, &stage.taken_from) {
                    (StageStatus::Done, Some(run)) => format!("taken from {run}"),
                    (StageStatus::Done, None) => "done".to_owned(),
                    (StageStatus::Partial, _) => "partial".to_owned(),
                    (StageStatus::Pending, _) => "pending".to_owned(),
                    (StageStatus::Stale, _) => "stale".to_owned(),
                },
                time => human_duration(stage.seconds),
                share_percent => if total_secs > 0. {
                    100. * stage.seconds / total_secs
                } else {
                    0.
                },
                memory => stage
                    .peak_bytes
                    .map_or_else(|| "not measured".into(), human_bytes),
                profile => stage.profile.as_ref().map(|p| p.table(&stage.stage)),
            }
        })
        .collect()
}

pub(super) fn size_facts(summary: &Summary) -> Vec<Value> {
    let bytes = summary.bytes;
    let mut facts = vec![
        fact("distilled images", human_bytes(bytes.images)),
        fact("stored labels", human_bytes(bytes.labels)),
    ];
    if bytes.images > 0 {
        let ratio = bytes.labels as f64 / bytes.images as f64;
        facts.push(fact("label bytes per image byte", figure(ratio)));
    }
    facts
}

fn fact(label: &str, value: impl Into<String>) -> Value {
    context! { label, value => value.into() }
}

/// Three significant digits, so that a loss reads the same at any size.
fn figure(value: f64) -> String {
    match value.abs() {
        size if !size.is_finite() => "not finite".into(),
        0. => "0".into(),
        size if !(1e-3..1e5).contains(&size) => format!("{value:.2e}"),
        size => format!(
            "{value:.*}",
            (2 - size.log10().floor() as i32).max(0) as usize
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        let cases = [
            (0., "0"),
            (52.41, "52.4"),
            (0.0021, "0.00210"),
            (3.4e-7, "3.40e-7"),
            (1234.5, "1234"),
        ];
        for (value, expected) in cases {
            assert_eq!(figure(value), expected);
        }
        assert_eq!(figure(f64::NAN), "not finite");
    }
}

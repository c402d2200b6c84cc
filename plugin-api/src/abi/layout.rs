//! The layout check, both ways: prefix types may only grow, so the older side is taken as the interface.

use abi_stable::{
    StableAbi,
    abi_stability::abi_checking::{
        AbiInstabilityErrors, CheckingGlobals, check_layout_compatibility_with_globals,
    },
    library::LibHeader,
    type_layout::TypeLayout,
};

use super::{API_VERSION, Error, ErrorKind, HeaderRef, Preamble, Root_Ref};

/// Why a plugin's layout does not fit.
#[derive(Debug)]
pub struct LayoutFault {
    /// One line.
    pub summary: String,
    /// The full account: hundreds of lines, for a file.
    pub report: String,
}

/// Compares the plugin's layout with this host's.
///
/// # Errors
/// [`LayoutFault`] when either side would misread the other.
pub fn check_layout(header: HeaderRef, preamble: &Preamble) -> Result<(), LayoutFault> {
    let plain = |summary: String| LayoutFault {
        report: summary.clone(),
        summary,
    };
    let header: &'static LibHeader = header
        .upgrade()
        .map_err(|e| plain(first_line(&e.to_string(), "unknown fault")))?;
    let plugin = header
        .layout()
        .ok_or_else(|| plain("the plugin carries no layout".to_owned()))?;
    let host = <Root_Ref as StableAbi>::LAYOUT;
    let verdict = match preamble.api[1].cmp(&API_VERSION[1]) {
        std::cmp::Ordering::Less => check(plugin, host),
        std::cmp::Ordering::Greater => check(host, plugin),
        // Of one version: equal, or one of them was built before a field was appended.
        std::cmp::Ordering::Equal => {
            check(host, plugin).or_else(|fault| check(plugin, host).map_err(|_| fault))
        }
    };
    verdict.map_err(|errors| LayoutFault {
        summary: summary(&errors),
        report: errors.to_string(),
    })
}

/// Runs the plugin's constructor.
///
/// # Safety
/// [`check_layout`] must have passed for this header.
///
/// # Errors
/// What the constructor answers.
pub unsafe fn open_root(header: HeaderRef) -> Result<Root_Ref, Error> {
    let unfit = |fault: String| {
        let line = first_line(&fault, "unknown fault");
        Error::new(ErrorKind::UNSUPPORTED, line)
    };
    let header: &'static LibHeader = header.upgrade().map_err(|e| unfit(e.to_string()))?;
    // SAFETY: the caller checked the layout.
    let root = unsafe { header.init_root_module_with_unchecked_layout::<Root_Ref>() };
    root.map_err(|e| unfit(e.to_string()))
}

fn check(
    interface: &'static TypeLayout,
    implementation: &'static TypeLayout,
) -> Result<(), Box<AbiInstabilityErrors>> {
    // Fresh globals: shared ones remember every prefix type ever checked, and refuse a newer plugin after an older one.
    let globals = CheckingGlobals::new();
    check_layout_compatibility_with_globals(interface, implementation, &globals).map_err(Box::new)
}

fn summary(errors: &AbiInstabilityErrors) -> String {
    let faults: Vec<_> = errors
        .errors
        .iter()
        .filter(|e| !e.errs.is_empty())
        .collect();
    let first = faults.first().map(|fault| {
        let names = fault.stack_trace.iter().map(|step| {
            let line = first_line(&step.expected.to_string(), "");
            line.trim_start_matches("field_name:")
                .split(['<', '{', '('])
                .next()
                .unwrap_or("")
                .trim()
                .to_owned()
        });
        let path: Vec<String> = names.filter(|n| !n.is_empty()).collect();
        let tail = &path[path.len().saturating_sub(3)..];
        format!(", first at {}", tail.join(" > "))
    });
    format!(
        "the layouts differ in {} place(s){}",
        faults.len(),
        first.unwrap_or_default()
    )
}

fn first_line(text: &str, otherwise: &str) -> String {
    let line = text.lines().map(str::trim).find(|l| !l.is_empty());
    line.unwrap_or(otherwise).to_owned()
}

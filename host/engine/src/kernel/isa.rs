//! Which vector instructions the kernels use: the widest that this processor has, or a narrower set on request.

use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
use super::amx;

/// Sets of vector instructions, narrow to wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Isa {
    /// What the compiler takes for granted on this architecture.
    Portable,
    /// x86-64 with AVX2 and FMA.
    Avx2,
    /// x86-64 with AVX-512 F, BW, CD, DQ and VL, and products of bf16 where the processor has AVX512-BF16.
    Avx512,
    /// The same, with products of bf16 by AMX.
    Amx,
}

impl Isa {
    /// All sets, narrow to wide.
    pub const ALL: [Self; 4] = [Self::Portable, Self::Avx2, Self::Avx512, Self::Amx];

    /// Its name in the environment variable `ALAMBIC_ISA`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Portable => "portable",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Amx => "amx",
        }
    }

    /// Whether this processor has it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => pulp::x86::V3::try_new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => pulp::x86::V4::try_new().is_some(),
            #[cfg(target_arch = "x86_64")]
            Self::Amx => Self::Avx512.is_available() && amx::is_usable(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::Avx2 | Self::Avx512 | Self::Amx => false,
        }
    }

    /// The widest set of this processor.
    pub fn widest() -> Self {
        let mut available = Self::ALL.into_iter().rev().filter(|isa| isa.is_available());
        available.next().unwrap_or(Self::Portable)
    }
}

/// Reads the value of `ALAMBIC_ISA`.
///
/// # Errors
/// If it names no set, or one that this processor lacks.
pub fn requested_isa(value: Option<&str>) -> Result<Isa, String> {
    let Some(value) = value else {
        return Ok(Isa::widest());
    };
    let names = || Isa::ALL.map(Isa::name).join(", ");
    let found = Isa::ALL.into_iter().find(|isa| isa.name() == value);
    let isa = found.ok_or_else(|| {
        format!(
            "ALAMBIC_ISA: unknown instruction set {value:?} (have: {})",
            names()
        )
    })?;
    if !isa.is_available() {
        let widest = Isa::widest().name();
        return Err(format!(
            "ALAMBIC_ISA: this processor does not support {value}, only up to {widest}"
        ));
    }
    Ok(isa)
}

/// The set in use: read from the environment once. A value that cannot be met is told by [`requested_isa`]; here it counts as
/// none.
pub fn isa() -> Isa {
    static ISA: OnceLock<Isa> = OnceLock::new();
    *ISA.get_or_init(|| {
        let value = std::env::var("ALAMBIC_ISA").ok();
        requested_isa(value.as_deref()).unwrap_or_else(|_| Isa::widest())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_met_or_told() {
        assert_eq!(requested_isa(None), Ok(Isa::widest()));
        assert_eq!(requested_isa(Some("portable")), Ok(Isa::Portable));
        let text = requested_isa(Some("sse9")).unwrap_err();
        assert!(text.contains("sse9") && text.contains("avx2"), "{text}");
    }
}

//! Sums of products by the letters of their dimensions.

use super::Tensor;
use crate::{Context as _, Error, Result, bail, ensure};

/// A tensor with a letter for each dimension.
struct Lettered {
    letters: Vec<char>,
    tensor: Tensor,
}

impl Tensor {
    /// Einstein's sum, as `torch.einsum`: `einsum("nc,dc->nd", &[&a, &b])` is `a b^T`. A letter for each dimension, the same letter for
    /// the same size; letters that the result lacks are summed over. Operands are taken from left to right, a matrix product each.
    /// There is neither an ellipsis nor a diagonal.
    ///
    /// # Errors
    /// When letters and shapes do not fit.
    pub fn einsum(equation: &str, operands: &[&Tensor]) -> Result<Tensor> {
        contracted(equation, operands).with_context(|| format!("einsum \"{equation}\""))
    }
}

fn contracted(equation: &str, operands: &[&Tensor]) -> Result<Tensor> {
    let plain: String = equation.chars().filter(|c| !c.is_whitespace()).collect();
    let Some((inputs, output)) = plain.split_once("->") else {
        bail!("expected the letters of the result after \"->\"")
    };
    let inputs: Vec<Vec<char>> = inputs
        .split(',')
        .map(|part| part.chars().collect())
        .collect();
    let output: Vec<char> = output.chars().collect();
    ensure!(
        inputs.len() == operands.len(),
        "{} operands for the letters of {}",
        operands.len(),
        inputs.len()
    );
    check(&inputs, &output, operands)?;
    let pairs = inputs.iter().cloned().zip(operands);
    let mut left = pairs.map(|(letters, &tensor)| Lettered {
        letters,
        tensor: tensor.clone(),
    });
    let mut result = left.next().ok_or_else(absent)?;
    for (i, next) in (1..).zip(left) {
        let later = inputs[i + 1..].iter().flatten();
        let wanted: Vec<char> = output.iter().chain(later).copied().collect();
        result = result.times(next, &wanted)?;
    }
    let result = result.summed(&output)?;
    result.ordered(&output)
}

/// Letters that fit the shapes, each once an operand, and a result of letters that occur.
fn check(inputs: &[Vec<char>], output: &[char], operands: &[&Tensor]) -> Result<()> {
    let mut sizes: Vec<(char, usize)> = Vec::new();
    for (letters, operand) in inputs.iter().zip(operands) {
        let shape = operand.shape();
        ensure!(
            letters.len() == shape.len(),
            "{} letters for shape {shape:?}",
            letters.len()
        );
        for (i, (&letter, size)) in letters.iter().zip(shape).enumerate() {
            ensure!(
                letter.is_alphabetic() && !letters[..i].contains(&letter),
                "'{letter}': expected letters, each once an operand"
            );
            match sizes.iter().find(|(known, _)| *known == letter) {
                Some(&(_, known)) => {
                    ensure!(known == size, "'{letter}' is {known} and {size}");
                }
                None => sizes.push((letter, size)),
            }
        }
    }
    for (i, letter) in output.iter().enumerate() {
        ensure!(
            sizes.iter().any(|(known, _)| known == letter) && !output[..i].contains(letter),
            "'{letter}' in the result: expected letters of the operands, each once"
        );
    }
    Ok(())
}

fn absent() -> Error {
    Error::msg("a letter that no operand has")
}

impl Lettered {
    fn size(&self, letter: char) -> Result<usize> {
        let place = self.letters.iter().position(|l| *l == letter);
        self.tensor.dim(place.ok_or_else(absent)?)
    }

    fn sizes(&self, letters: &[char]) -> Result<Vec<usize>> {
        letters.iter().map(|l| self.size(*l)).collect()
    }

    /// Its tensor with the dimensions in the order of `letters`.
    fn ordered(&self, letters: &[char]) -> Result<Tensor> {
        let place = |letter: &char| self.letters.iter().position(|l| l == letter);
        let order: Option<Vec<usize>> = letters.iter().map(place).collect();
        self.tensor.permute(&order.ok_or_else(absent)?)
    }

    /// Summed over the letters that nobody wants.
    fn summed(self, wanted: &[char]) -> Result<Self> {
        let unwanted = (0..self.letters.len()).filter(|&i| !wanted.contains(&self.letters[i]));
        let unwanted: Vec<usize> = unwanted.collect();
        if unwanted.is_empty() {
            return Ok(self);
        }
        Ok(Self {
            tensor: self.tensor.sum(&unwanted)?,
            letters: self
                .letters
                .into_iter()
                .filter(|l| wanted.contains(l))
                .collect(),
        })
    }

    /// The product with another, summed over the letters that both have and nobody wants later.
    fn times(self, other: Self, wanted: &[char]) -> Result<Self> {
        let of = |wanted: &[char], more: &[char]| [wanted, more].concat();
        let left = self.summed(&of(wanted, &other.letters))?;
        let right = other.summed(&of(wanted, &left.letters))?;
        let shared = |l: &char| right.letters.contains(l);
        let of_left = |keep: &dyn Fn(&char) -> bool| -> Vec<char> {
            left.letters.iter().copied().filter(|l| keep(l)).collect()
        };
        let batch = of_left(&|l| shared(l) && wanted.contains(l));
        let inner = of_left(&|l| shared(l) && !wanted.contains(l));
        let rows = of_left(&|l| !shared(l));
        let columns = right.letters.iter().copied();
        let columns: Vec<char> = columns.filter(|l| !left.letters.contains(l)).collect();
        let count = |of: &Self, letters: &[char]| -> Result<usize> {
            Ok(of.sizes(letters)?.iter().product())
        };
        let (outer, depth) = (count(&left, &batch)?, count(&left, &inner)?);
        let a = left.ordered(&[&batch[..], &rows, &inner].concat())?;
        let a = a.reshape(&[outer, count(&left, &rows)?, depth])?;
        let b = right.ordered(&[&batch[..], &inner, &columns].concat())?;
        let b = b.reshape(&[outer, depth, count(&right, &columns)?])?;
        let mut dims = left.sizes(&[&batch[..], &rows].concat())?;
        dims.extend(right.sizes(&columns)?);
        Ok(Self {
            tensor: a.matmul(&b)?.reshape(&dims)?,
            letters: [batch, rows, columns].concat(),
        })
    }
}

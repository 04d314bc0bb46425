"""Taking a direction out of a model as a LoRA of rank one, in the files of peft.

For a writer W with rows [inputs, d_model] and the unit vector u, W - W u u^T is W + A^T B^T with
A = (W u)^T [1, inputs] and B = -u [d_model, 1]: weight orthogonalisation (Arditi et al. 2024, arXiv
2406.11717, eq. 5), which has rank one, so that nothing is lost.
"""

from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

from jaxtyping import Float
from torch import Tensor, nn

from interp.assets.checkpoints import quiet_transformers
from interp.assets.files import replace_folder
from interp.directions import Direction
from interp.errors import ModelError
from interp.exports.formats import plain_model
from interp.models import LoadedModel
from interp.weights import Writer, orthogonalised, residual_writers, written_along

ADAPTER = "default"


def write_adapter(folder: Path, model: LoadedModel, direction: Direction) -> None:
    """Write a LoRA that takes the direction out of every writer, as peft itself saves one.

    The matrices are float32. A head that shares the embedding's matrix stays as it is until the
    LoRA is merged, which changes that matrix: `write_huggingface` writes such a model. Raises
    ModelError as `orthogonalised` does, and by name for a writer with a bias, which a LoRA leaves
    as it is.
    """
    writers = residual_writers(model)
    _refuse_biases(model, writers)
    with orthogonalised(model, direction.unit[None]):
        pass  # raises where something besides the writers writes to the stream
    components = {
        writer.name.removesuffix(".weight"): written_along(writer, direction.unit)
        for writer in writers
    }
    with replace_folder(folder) as temporary, quiet_transformers(), catch_warnings():
        simplefilter("ignore")  # of peft, about merging into a head that shares the embedding
        adapted = _adapted(plain_model(model), components, direction.unit)
        adapted.save_pretrained(temporary, save_embedding_layers=False)


def _refuse_biases(model: LoadedModel, writers: list[Writer]) -> None:
    biases = [writer.name for writer in writers if writer.attribute == "bias"]
    if biases:
        raise ModelError(
            f"{model.info.name} ({model.info.family}) cannot get a LoRA without the direction: "
            f"{len(biases)} of its writers have a bias ({biases[0]}, ...), which a LoRA leaves as "
            "it is. Export --to hf."
        )


def _adapted(hf_model: Any, components: dict[str, Tensor], unit: Tensor) -> Any:
    """The model under peft, with the matrices of the LoRA set."""
    from peft import LoraConfig, get_peft_model  # here: it takes seconds to import

    config = LoraConfig(
        r=1,
        lora_alpha=1,
        target_modules=sorted(components),
        task_type="CAUSAL_LM",
        inference_mode=True,
    )
    adapted = get_peft_model(hf_model, config)
    for module, values in components.items():
        _set_matrices(adapted.base_model.model.get_submodule(module), values, unit)
    return adapted


def _set_matrices(layer: Any, values: Float[Tensor, " inputs"], unit: Tensor) -> None:
    """A = values [1, inputs] and B = -u [d_model, 1]; peft keeps those of an embedding apart."""
    matrices = (values[None].contiguous(), -unit.float()[:, None].contiguous())
    a, b = (nn.Parameter(matrix, requires_grad=False) for matrix in matrices)
    if ADAPTER in layer.lora_embedding_A:
        layer.lora_embedding_A[ADAPTER], layer.lora_embedding_B[ADAPTER] = a, b
    else:
        layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight = a, b

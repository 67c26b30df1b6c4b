"""The optimizer Muon, for networks with convolutions."""

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="digits")
class Muon(keras.optimizers.Muon):
    """Keras's Muon, which orthogonalises the updates of matrices, for kernels of convolutions too.

    A kernel [height, width, in, out] is taken for the matrix [height * width * in, out]. What is
    no matrix is left to AdamW, and so are the first and the last layer, as Muon's authors advise.

    Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
    """

    def _should_use_adamw(self, variable: keras.Variable) -> bool:
        is_first = len(variable.shape) == 4 and variable.shape[2] == 1
        if len(variable.shape) not in (2, 4) or is_first:
            return True
        return any(name in variable.path for name in self.exclude_layers)

    def _muon_update_step(
        self, gradient: Any, variable: keras.Variable, lr: Any, m: keras.Variable
    ) -> None:
        self.assign_add(m, gradient + m * (self.momentum - 1))
        update = gradient + self.momentum * m if self.nesterov else m
        matrix = keras.ops.reshape(update, (-1, variable.shape[-1]))
        matrix = self.zeropower_via_newtonschulz5(matrix, self.ns_steps)
        self.assign_sub(
            variable, keras.ops.reshape(self.lr_adjust(lr * matrix), tuple(variable.shape))
        )

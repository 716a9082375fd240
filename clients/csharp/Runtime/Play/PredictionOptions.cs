// The options of a Prediction.

using System.Collections.Generic;

namespace Tickwire
{
    public sealed class PredictionOptions<TState>
        where TState : struct
    {
        /// <summary>The fields of an input, `room.Description.Inputs`: inputs are quantised as the server does before they are
        /// applied.</summary>
        public IReadOnlyList<FieldDescription> Inputs { get; set; }

        /// <summary>The fields whose corrections are smoothed; without any, all corrections are applied at once.</summary>
        public StateFields<TState> Fields { get; set; } = new StateFields<TState>();

        /// <summary>Copies the fields of the state that the server does not send. They follow from the inputs.</summary>
        public CopyLocal<TState> CopyLocal { get; set; }

        /// <summary>The time in which half of a correction is applied; 0 applies it at once.</summary>
        public double HalfLifeMs { get; set; } = 100;

        /// <summary>Above this distance (of the position) a correction is applied at once: the entity was moved, not
        /// mispredicted.</summary>
        public double SnapDistance { get; set; } = double.PositiveInfinity;

        /// <summary>The time between two inputs: `Sample` then moves between the last two steps. 0: it does not.</summary>
        public double TickMs { get; set; }
    }
}

// How the own ship flies: the same as in the server's room (examples/arena.py), for the prediction.

using System;

namespace Tickwire.Samples
{
    /// <summary>The predicted state. The server does not send the speed: it follows from the inputs.</summary>
    public struct OwnShip
    {
        public double X;
        public double Y;
        public double Heading;
        public double Speed;

        private const double Size = 500;
        private const double SpeedMax = 60;
        private const double TurnRate = 3;

        /// <summary>Returns a prediction of the ship in a room.</summary>
        public static Prediction<OwnShip, ArenaInputs> Predict(Room room)
        {
            double dt = 1 / room.TickRateHz;
            var options = new PredictionOptions<OwnShip>
            {
                Inputs = room.Description.Inputs,
                CopyLocal = (in OwnShip from, ref OwnShip to) => to.Speed = from.Speed,
                SnapDistance = 80,
                TickMs = 1000 * dt,
            };
            options.Fields
                .Field((in OwnShip ship) => ship.X, (ref OwnShip ship, double value) => ship.X = value)
                .Field((in OwnShip ship) => ship.Y, (ref OwnShip ship, double value) => ship.Y = value)
                .Angle((in OwnShip ship) => ship.Heading, (ref OwnShip ship, double value) => ship.Heading = value);
            return new Prediction<OwnShip, ArenaInputs>(
                (in OwnShip ship, in ArenaInputs inputs) => Fly(ship, inputs, dt), options);
        }

        private static OwnShip Fly(in OwnShip ship, in ArenaInputs inputs, double dt)
        {
            double heading = ship.Heading + inputs.Turn * TurnRate * dt;
            double speed = ship.Speed + (inputs.Thrust * SpeedMax - ship.Speed) * 2 * dt;
            return new OwnShip
            {
                X = Limited(ship.X + Math.Cos(heading) * speed * dt),
                Y = Limited(ship.Y + Math.Sin(heading) * speed * dt),
                Heading = heading,
                Speed = speed,
            };
        }

        private static double Limited(double value)
        {
            return Math.Max(-Size, Math.Min(Size, value));
        }
    }
}

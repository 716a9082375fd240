// Angles in radians.

using System;

namespace Tickwire
{
    public static class Angles
    {
        /// <summary>Wraps the difference of two angles to the shorter direction, from -π to π.</summary>
        public static double ShortWay(double difference)
        {
            double turn = 2 * Math.PI;
            double wrapped = (difference + Math.PI) % turn;
            return (wrapped < 0 ? wrapped + turn : wrapped) - Math.PI;
        }
    }
}
